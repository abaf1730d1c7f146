//! Connections that are dead, too old, or refused for lack of file descriptors. Time is paused
//! where a limit takes a minute, and jumps to the next event.

use std::{fs, time::Duration};

use cancelot::{
    rpc::proto::Outcome,
    sandbox::{self, Provider, Sandbox},
};
use tokio::{net::TcpStream, time::Instant};

use super::frames::{ACK, GOAWAY, PING, WINDOW_UPDATE, Wire, frame};
use crate::support::{connect, gateway, in_time, now, process::Place, request, subscription};

/// The other end's next question whether we are there; `None` if it has closed.
async fn asked(wire: &mut Wire) -> Option<Vec<u8>> {
    loop {
        let frame = wire.next().await?;
        if frame.kind == PING && frame.flags & ACK == 0 {
            return Some(frame.payload);
        }
    }
}

#[tokio::test]
async fn who_does_not_answer_a_ping_loses_the_connection() {
    let gateway = gateway().start().await;
    let mut wire = Wire::connect(&gateway.url(), &[]).await;
    assert!(in_time(wire.answers()).await);

    tokio::time::pause();
    let begun = Instant::now();
    assert!(asked(&mut wire).await.is_some());
    let asked_after = begun.elapsed();
    wire.closed().await;
    let closed_after = begun.elapsed();

    let seconds = |from, to| Duration::from_secs(from)..Duration::from_secs(to);
    assert!(seconds(59, 62).contains(&asked_after), "{asked_after:?}");
    assert!(seconds(79, 83).contains(&closed_after), "{closed_after:?}");
}

#[tokio::test]
async fn who_answers_pings_keeps_an_idle_connection() {
    let gateway = gateway().start().await;
    let mut wire = Wire::connect(&gateway.url(), &[]).await;
    assert!(in_time(wire.answers()).await);

    tokio::time::pause();
    let begun = Instant::now();
    for _ in 0..10 {
        let question = asked(&mut wire).await.unwrap();
        assert!(wire.send(&frame(PING, ACK, 0, &question)).await);
    }
    assert!(wire.answers().await);
    assert!(begun.elapsed() > Duration::from_secs(9 * 60));
}

#[tokio::test]
async fn connections_grow_old_within_a_tenth_of_their_age_and_not_all_at_once() {
    let mut ages = Vec::new();
    for _ in 0..8 {
        let gateway = gateway()
            .config("[server]\nconnection_age_ms = 1000000")
            .start()
            .await;
        let mut wire = Wire::connect(&gateway.url(), &[]).await;
        assert!(in_time(wire.answers()).await);

        tokio::time::pause();
        let begun = Instant::now();
        loop {
            let frame = wire.next().await.unwrap();
            if frame.kind == GOAWAY {
                break;
            }
            if frame.kind == PING && frame.flags & ACK == 0 {
                let answer = crate::edge::frames::frame(PING, ACK, 0, &frame.payload);
                assert!(wire.send(&answer).await);
            }
        }
        let age = begun.elapsed();
        tokio::time::resume();

        let bounds = Duration::from_secs(890)..Duration::from_secs(1_110);
        assert!(bounds.contains(&age), "{age:?}");
        ages.push(age.as_secs());
    }
    // Eight within five of two hundred seconds is no chance: it would be no spread.
    let spread = ages.iter().max().unwrap() - ages.iter().min().unwrap();
    assert!(spread > 5, "{ages:?}");
}

/// Hundredths of a second until the kernel asks whether the other end of a connection is there, if
/// it is going to (proc_pid_net(5): timer 2 is that of keepalive).
fn keepalive(local: u16, remote: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |addr: &str| u16::from_str_radix(addr.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1);
    let mut fields = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = fields.find(|row| port(row[1]) == local && port(row[2]) == remote);
    let row = row.expect("the connection is there");
    let (timer, due) = row[5].split_once(':').unwrap();
    (timer == "02").then(|| u64::from_str_radix(due, 16).unwrap())
}

#[tokio::test]
async fn the_kernel_asks_after_a_minute_whether_the_other_end_is_there() {
    let gateway = gateway().start().await;
    let mut wire = Wire::connect(&gateway.url(), &[]).await;
    assert!(in_time(wire.answers()).await);
    // What needs no answer acknowledges the last one, so that no other timer is on.
    let increment = 1_u32.to_be_bytes();
    assert!(wire.send(&frame(WINDOW_UPDATE, 0, 0, &increment)).await);

    let server = gateway.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let due = keepalive(server, wire.local_port());

    assert!(due.is_some_and(|due| due <= 60 * 100), "{due:?}");
}

#[tokio::test]
async fn without_file_descriptors_it_says_so_and_serves_when_there_are_some_again() {
    let sandbox = Sandbox::start(sandbox::Options::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let mut process = place.start_with_files(64);
    let url = process.url().await.unwrap();
    let addr = url.strip_prefix("http://").unwrap();
    let mut client = connect(&url).await;

    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(addr).await.unwrap());
    }
    place.says("a connection cannot be accepted").await;
    drop(crowd);

    let item = |id| subscription(Provider::Rebilly, id, now());
    let sent = client.cancel_subscription(request("K", [item(1)]));
    let mut known = in_time(sent).await.unwrap().into_inner();
    let mut other = in_time(connect(&url)).await;
    let sent = other.cancel_subscription(request("L", [item(2)]));
    let mut new = in_time(sent).await.unwrap().into_inner();
    for stream in [&mut known, &mut new] {
        let mut results = Vec::new();
        while let Some(message) = in_time(stream.message()).await.unwrap() {
            results.extend(message.results);
        }
        assert_eq!(results[0].outcome(), Outcome::Canceled, "{results:?}");
    }
    sandbox.stop().await;
}
