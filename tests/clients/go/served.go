package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A process of the binary, its standard output read up to the line that says it is ready.
type process struct {
	command *exec.Cmd
	lines   []string
}

func start(ready string, arguments ...string) *process {
	p := &process{command: exec.Command(os.Args[1], arguments...)}
	var log bytes.Buffer
	p.command.Stderr = &log
	out, err := p.command.StdoutPipe()
	must(err)
	must(p.command.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.lines = append(p.lines, lines.Text())
		if strings.HasPrefix(lines.Text(), ready) {
			return p
		}
	}
	_ = p.command.Wait()
	panic("it did not start: " + log.String())
}

// word is the rest of the line that begins so.
func (p *process) word(beginning string) string {
	for _, line := range p.lines {
		if rest, found := strings.CutPrefix(line, beginning); found {
			return strings.TrimSpace(rest)
		}
	}
	panic("no line begins with " + beginning)
}

// end sends a signal and waits for the exit code; -1 of a killed process.
func (p *process) end(how os.Signal) int {
	_ = p.command.Process.Signal(how)
	_ = p.command.Wait()
	return p.command.ProcessState.ExitCode()
}

func (p *process) kill() { p.end(syscall.SIGKILL) }

// serveSandbox is a service with a simulator of the providers and a journal that is thrown away.
func serveSandbox(settings ...string) *process {
	arguments := []string{"serve", "--sandbox", "--set", "server.listen=127.0.0.1:0"}
	for _, setting := range settings {
		arguments = append(arguments, "--set", setting)
	}
	return start("listening on", arguments...)
}

// serve is a service with a journal in a place, a caller with a token, and one account.
func serve(place, listen, rebilly, token string) *process {
	must(os.WriteFile(filepath.Join(place, "token"), []byte(token), 0o600))
	must(os.WriteFile(filepath.Join(place, "credential"), []byte("anything"), 0o600))
	config := filepath.Join(place, "cancelot.toml")
	must(os.WriteFile(config, fmt.Appendf(nil, `
[server]
listen = %q
[journal]
dir = %q
free_bytes_min = 1048576
[callers.billing]
token_file = %q
[accounts.rebilly]
provider = "rebilly"
base_url = %q
credential_file = %q
rate_per_second = 200.0
settling_ms = 1000
`, listen, filepath.Join(place, "journal"), filepath.Join(place, "token"), rebilly,
		filepath.Join(place, "credential")), 0o600))
	return start("listening on", "serve", "--config", config)
}
