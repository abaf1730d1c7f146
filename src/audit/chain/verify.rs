//! Whether the audit is as it was written: walks the chain over all files.

use std::{collections::BTreeSet, io, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{ChainHead, LineReader, Sealed};
use crate::audit::{PublicKey, chain, entry::ranges, segments::Segment};

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Files.
    pub segments: usize,
    /// Lines.
    pub lines: u64,
    /// The number of the first line.
    pub first_seq: Option<u64>,
    /// The last line, as `SEQ:HASH`: pin it elsewhere and give it to `--expect` later.
    pub head: Option<String>,
    /// The last line is not whole: it is being written, or was when the process ended.
    pub unfinished: bool,
    /// Lines with a signature that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures: Option<u64>,
    /// The last line that a signature covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_seq: Option<u64>,
    /// When that was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Timestamp>,
    /// What is not as it was written.
    pub problems: u64,
}

/// Something to be told, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditProblem {
    /// What is wrong.
    pub problem: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line there, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// Problems that are told one by one; a broken line often is the first of many.
const PROBLEMS_TOLD_MAX: u64 = 20;

/// What is known of the log from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct KnownHead {
    /// Lines that have to be in it: what was pinned, what the journal knows.
    pub heads: Vec<(ChainHead, &'static str)>,
    /// Keys that its head was signed by. With any of them, it has to be signed.
    pub keys: Vec<PublicKey>,
    /// When it was signed at the earliest for the last time.
    pub signed_since: Option<Timestamp>,
}

/// How long after a signature lines may lack one: it comes each hour, and what it covers took its
/// time.
const UNSIGNED: SignedDuration = SignedDuration::from_hours(2);

/// Walks over all files of a directory and gives each problem to `tell`.
///
/// # Errors
/// A file cannot be read.
pub fn verify(
    dir: &Path,
    known: &KnownHead,
    mut tell: impl FnMut(&AuditProblem) -> io::Result<()>,
) -> io::Result<AuditReport> {
    let mut walk = Walk {
        reader: LineReader::default(),
        report: AuditReport::default(),
        known,
        seen: vec![false; known.heads.len()],
        last: None,
        dropped: None,
        lacking: BTreeSet::new(),
        last_time: None,
        begins_after: None,
        problems: Vec::new(),
    };
    let segments = Segment::list(dir)?;
    walk.report.segments = segments.len();
    let is_last = |at: usize| at.saturating_add(1) == segments.len();
    for (at, segment) in segments.iter().enumerate() {
        walk.segment(segment, is_last(at))?;
        for problem in walk.problems.drain(..) {
            tell(&problem)?;
        }
    }
    walk.end();
    for problem in walk.problems.drain(..) {
        tell(&problem)?;
    }
    walk.report.head = walk.last.map(|last| last.to_string());
    Ok(walk.report)
}

struct Walk<'a> {
    reader: LineReader,
    report: AuditReport,
    known: &'a KnownHead,
    seen: Vec<bool>,
    last: Option<ChainHead>,
    /// The last line that retention says to have removed.
    dropped: Option<ChainHead>,
    /// Lines that lack something personal, of which no later line says so yet.
    lacking: BTreeSet<u64>,
    /// The latest time of a line.
    last_time: Option<Timestamp>,
    /// The line before the first one.
    begins_after: Option<ChainHead>,
    problems: Vec<AuditProblem>,
}

impl Walk<'_> {
    fn problem(&mut self, problem: String, place: Option<LinePlace<'_>>) {
        self.report.problems += 1;
        if self.report.problems <= PROBLEMS_TOLD_MAX {
            self.problems.push(AuditProblem {
                problem,
                file: place.map(|place| place.segment.path.display().to_string()),
                line: place.map(|place| place.line),
            });
        }
    }

    fn segment(&mut self, segment: &Segment, is_last: bool) -> io::Result<()> {
        let mut lines = segment.lines()?;
        let mut number = 0_u64;
        while let Some(line) = lines.next_line()? {
            number += 1;
            let place = LinePlace {
                segment,
                line: number,
            };
            match self.reader.read(line) {
                Ok(sealed) => {
                    if number == 1 && sealed.seq != segment.first {
                        let problem = format!("its name is not that of its line {}", sealed.seq);
                        self.problem(problem, Some(place));
                    }
                    self.line(&sealed, place);
                }
                // It is being written, or a crash cut it short and the next start goes on there.
                Err(_) if is_last && chain::is_unfinished(line) => self.report.unfinished = true,
                Err(why) => {
                    self.problem(why, Some(place));
                    // Its hash is not known, so the next line's word for it is taken.
                    self.last = self.last.take().map(|last| ChainHead {
                        seq: last.seq.saturating_add(1),
                        hash: String::new(),
                    });
                }
            }
        }
        if number == 0 && !is_last {
            self.problem(
                "it is empty".to_owned(),
                Some(LinePlace { segment, line: 1 }),
            );
        }
        Ok(())
    }

    fn line(&mut self, sealed: &Sealed, place: LinePlace<'_>) {
        let seq = sealed.seq;
        self.report.lines += 1;
        match self.last.take() {
            Some(last) if seq != last.seq.saturating_add(1) => {
                let problem = if seq > last.seq {
                    let from = last.seq.saturating_add(1);
                    format!(
                        "lines {from} to {} are missing before it",
                        seq.saturating_sub(1)
                    )
                } else {
                    format!("line {seq} comes after line {}", last.seq)
                };
                self.problem(problem, Some(place));
            }
            Some(last) if !last.hash.is_empty() && last.hash != sealed.prev => {
                let problem = format!("line {seq} does not follow from the line before it");
                self.problem(problem, Some(place));
            }
            Some(_) => {}
            None => {
                self.report.first_seq.get_or_insert(seq);
                let before = ChainHead {
                    seq: seq.saturating_sub(1),
                    hash: sealed.prev.clone(),
                };
                if before.seq == 0 && before != ChainHead::empty() {
                    self.problem("line 1 says that one was before it".to_owned(), Some(place));
                }
                self.begins_after.get_or_insert(before);
            }
        }
        if sealed.event == "dropped"
            && let (Some(seq), Some(hash)) = (sealed.upto_seq, &sealed.upto_hash)
        {
            let hash = hash.clone();
            self.dropped = Some(ChainHead { seq, hash });
        }
        self.signature(sealed, place);
        self.last_time = self.last_time.max(Some(sealed.time));
        if sealed.lacks {
            self.lacking.insert(seq);
        }
        if sealed.event == "erased" {
            for named in ranges::read(sealed.lines.as_deref().unwrap_or_default()) {
                let told: Vec<_> = self.lacking.range(named).copied().collect();
                for line in told {
                    self.lacking.remove(&line);
                }
            }
        }
        let heads = self.known.heads.iter().zip(&mut self.seen);
        let mut wrong = Vec::new();
        for ((head, source), seen) in heads {
            if head.seq == seq {
                *seen = true;
                if head.hash != sealed.hash {
                    wrong.push(format!("line {seq} is not the one that {source} knows"));
                }
            }
        }
        for problem in wrong {
            self.problem(problem, Some(place));
        }
        self.last = Some(sealed.head());
    }

    /// Checks a line that signs the one before it.
    fn signature(&mut self, sealed: &Sealed, place: LinePlace<'_>) {
        let known = self.known;
        if sealed.event != "signed" || known.keys.is_empty() {
            return;
        }
        let before = ChainHead {
            seq: sealed.seq.saturating_sub(1),
            hash: sealed.prev.clone(),
        };
        let (kid, signature) = (sealed.kid.as_deref(), sealed.signature.as_deref());
        let (kid, signature) = (kid.unwrap_or_default(), signature.unwrap_or_default());
        let names_it =
            sealed.upto_seq == Some(before.seq) && sealed.upto_hash.as_ref() == Some(&before.hash);
        let key = known.keys.iter().find(|key| key.kid() == kid);
        match key {
            None => {
                let problem = format!("it is signed by the key {kid}, which was not given");
                self.problem(problem, Some(place));
            }
            Some(key) if names_it && key.has_signed(&before, sealed.time, signature) => {
                *self.report.signatures.get_or_insert(0) += 1;
                self.report.signed_seq = Some(before.seq);
                self.report.signed_at = Some(sealed.time);
            }
            Some(_) => {
                let problem = format!("its signature is not one of the line before it by {kid}");
                self.problem(problem, Some(place));
            }
        }
    }

    /// Whether the end is signed, and lately.
    fn end_of_signed(&mut self) {
        let KnownHead {
            keys, signed_since, ..
        } = self.known;
        if keys.is_empty() {
            return;
        }
        let Some(at) = self.report.signed_at else {
            self.problem("no line of it is signed".to_owned(), None);
            return;
        };
        let is_left = |last: Timestamp| last.duration_since(at) > UNSIGNED;
        if self.last_time.is_some_and(is_left) {
            let problem = format!("the end of it is not signed: the last signature is of {at}");
            self.problem(problem, None);
        }
        if signed_since.is_some_and(|since| at < since) {
            let problem = format!("its last signature is of {at}, which is earlier than asked for");
            self.problem(problem, None);
        }
    }

    /// What only shows at the end.
    fn end(&mut self) {
        self.end_of_signed();
        if let Some(before) = self.begins_after.take().filter(|before| before.seq > 0) {
            let is_dropped = self.dropped.as_ref().is_some_and(|dropped| {
                // A crash may have left files that were about to be removed.
                dropped.seq > before.seq || *dropped == before
            });
            if !is_dropped {
                let problem = format!(
                    "lines 1 to {} are missing, and no line says that their time was over",
                    before.seq
                );
                self.problem(problem, None);
            }
        }
        for seq in std::mem::take(&mut self.lacking) {
            let problem =
                format!("line {seq} lacks what was personal, and no line says that it was erased");
            self.problem(problem, None);
        }
        let end = self.last.as_ref().map_or(0, |last| last.seq);
        let known = self.known;
        for ((head, source), seen) in known.heads.iter().zip(self.seen.clone()) {
            if !seen && head.seq > 0 {
                self.problem(
                    format!(
                        "{source} knows line {}, and it is not here; the log ends with line {end}",
                        head.seq
                    ),
                    None,
                );
            }
        }
    }
}

/// A line of a file.
#[derive(Debug, Clone, Copy)]
struct LinePlace<'a> {
    segment: &'a Segment,
    /// From 1.
    line: u64,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::audit::{
        chain::{add, opening::Values},
        entry::AuditEntry,
    };

    /// A log that is written line by line.
    struct Log {
        dir: tempfile::TempDir,
        head: ChainHead,
        lines: Vec<Vec<u8>>,
    }

    impl Log {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                head: ChainHead::empty(),
                lines: Vec::new(),
            }
        }

        fn add(&mut self, content: &impl Serialize, personal: Values<'_>) {
            let mut line = Vec::new();
            add(&mut self.head, content, personal, &mut line).unwrap();
            self.lines.push(line);
        }

        /// As version 1 wrote it: with its key in itself.
        fn add_of_version_1(&mut self) {
            self.add(&content("admitted", Some("order-7")), Values::default());
        }

        fn add_sealed(&mut self) {
            let values = Values {
                key: Some("order-7".into()),
                ..Values::default()
            };
            self.add(&content("admitted", None), values);
        }

        /// Puts another content in the place of a line, with its hash, as an erasure does.
        fn replace(&mut self, at: usize) {
            let parts = chain::parts(&self.lines[at]).unwrap();
            let hash = parts.hash_text();
            let mut fields = content("admitted", Some("forged"));
            let before = self.lines[..at].last().map_or_else(
                || ChainHead::empty().hash,
                |line| chain::parts(line).unwrap().hash_text(),
            );
            fields["seq"] = (at + 1).into();
            fields["prev"] = before.into();
            fields["erased"] = true.into();
            let mut line = serde_json::to_vec(&fields).unwrap();
            line.pop();
            chain::finish(&mut line, &hash, None).unwrap();
            self.lines[at] = line;
        }

        /// What a walk finds, once a line says that the one at `at` was erased.
        fn problems(&mut self, at: usize) -> Vec<String> {
            let number = (at + 1).to_string();
            let told = ("target", "0a");
            let line = AuditEntry::erased(Timestamp::UNIX_EPOCH, told, None, 0, Some(&number));
            self.add(&line, Values::default());
            let path = Segment::new(self.dir.path(), 1).path;
            fs::write(path, self.lines.concat()).unwrap();
            let mut problems = Vec::new();
            verify(self.dir.path(), &KnownHead::default(), |problem| {
                problems.push(problem.problem.clone());
                Ok(())
            })
            .unwrap();
            problems
        }
    }

    fn content(event: &str, key: Option<&str>) -> serde_json::Value {
        let mut content = serde_json::json!({ "time": "2027-01-15T08:00:00Z", "event": event });
        if let Some(key) = key {
            content["key"] = key.into();
        }
        content
    }

    fn started() -> AuditEntry<'static> {
        AuditEntry::started(Timestamp::UNIX_EPOCH, "journal", None)
    }

    const CHANGED: &str = "its hash is not that of its content";

    #[test]
    fn a_line_of_version_1_that_was_erased_is_no_problem() {
        let mut log = Log::new();
        log.add(&content("started", None), Values::default());
        log.add_of_version_1();
        log.add(&started(), Values::default());
        log.add_sealed();
        log.replace(1);
        assert!(log.problems(1).is_empty());
    }

    #[test]
    fn a_line_of_version_2_that_was_replaced_is_a_problem_whatever_it_says() {
        // After one that is sealed, and after one that says which version follows.
        let of_started: fn(&mut Log) = |log| log.add(&started(), Values::default());
        for before in [Log::add_sealed, of_started] {
            let mut log = Log::new();
            log.add(&content("started", None), Values::default());
            before(&mut log);
            log.add_sealed();
            log.add_sealed();
            log.replace(2);
            assert_eq!(log.problems(2), [CHANGED]);
        }
    }

    #[test]
    fn the_first_line_that_was_replaced_is_a_problem() {
        let mut log = Log::new();
        log.add(&started(), Values::default());
        log.add_sealed();
        log.replace(0);
        assert_eq!(log.problems(0).first().map(String::as_str), Some(CHANGED));
    }

    #[test]
    fn lines_that_one_line_names_by_ranges_are_all_told_of() {
        let mut log = Log::new();
        log.add(&content("started", None), Values::default());
        for _ in 0..6 {
            log.add_of_version_1();
        }
        for at in [1, 2, 3, 5] {
            log.replace(at);
        }
        let told = ("target", "0a");
        let line = AuditEntry::erased(Timestamp::UNIX_EPOCH, told, None, 0, Some("2-3,6"));
        log.add(&line, Values::default());
        let problems = log.problems(6);
        assert!(
            problems.len() == 1 && problems[0].starts_with("line 4 lacks"),
            "{problems:?}"
        );
    }
}
