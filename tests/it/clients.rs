//! The wires against loopback fakes: a upsd that is slow, silent, talks nonsense or goes away.

#![allow(clippy::unwrap_used, reason = "clippy only sees #[test] functions as tests, and these have helpers")]

mod login;
mod small_servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hecate::clients::nut::{Credentials, Endpoint, ErrCode, LINE_BYTES_MAX, NutClient, NutError, VARIABLES_MAX};
use hecate::config::Ups;
use hecate::model::{FailureKind, Reading, UpsName};
use hecate::observe::ups::Upses;
use hecate::snapshot::UpsReading;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// No fake takes longer for anything that is meant to work.
const LIMIT: Duration = Duration::from_secs(10);

/// Long enough for loopback, short enough to wait for where silence is the point.
const SHORT: Duration = Duration::from_millis(100);

/// A upsd that answers each connection's questions with the given texts, one a question, then falls silent or hangs up.
struct FakeUpsd {
    port: u16,
    questions: Arc<std::sync::Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
enum Turn {
    /// Reads one line, then sends this.
    Answer(String),
    /// Reads one line, then sends these pieces, each flushed by itself.
    Pieces(Vec<String>),
    /// Sends this without being asked.
    Unasked(String),
    /// Reads one line, sends this and closes the connection at once.
    Farewell(String),
    /// Reads one line, then nothing more until the other side hangs up.
    Silence,
    /// Closes the connection.
    HangUp,
    /// Closes its sending half after one question, and reads on.
    HalfClose,
}

impl FakeUpsd {
    async fn start(turns: Vec<Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, turns)
    }

    fn serve(listener: TcpListener, turns: Vec<Turn>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let questions = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = Arc::clone(&questions);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, turns.clone(), Arc::clone(&heard)));
            }
        });
        Self { port, questions, task }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.port)
    }

    async fn client(&self) -> NutClient {
        NutClient::connect(&mut self.endpoint(), None, LIMIT).await.unwrap()
    }

    fn heard(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

impl Drop for FakeUpsd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(stream: TcpStream, turns: Vec<Turn>, heard: Arc<std::sync::Mutex<Vec<String>>>) {
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    for turn in turns {
        match &turn {
            Turn::HangUp => return,
            Turn::Unasked(text) => {
                writer.write_all(text.as_bytes()).await.unwrap();
                continue;
            }
            Turn::Answer(_) | Turn::Pieces(_) | Turn::Farewell(_) | Turn::Silence | Turn::HalfClose => {}
        }
        let mut question = String::new();
        if reader.read_line(&mut question).await.unwrap_or(0) == 0 {
            return;
        }
        heard.lock().unwrap().push(question.trim_end().to_owned());
        let pieces = match turn {
            Turn::Answer(text) => vec![text],
            Turn::Pieces(pieces) => pieces,
            Turn::HalfClose => {
                writer.shutdown().await.unwrap();
                break;
            }
            Turn::Farewell(text) => {
                let _ = writer.write_all(text.as_bytes()).await;
                return;
            }
            Turn::Silence | Turn::HangUp | Turn::Unasked(_) => break,
        };
        for piece in pieces {
            // The other side may have had enough.
            if writer.write_all(piece.as_bytes()).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
    let _ = reader.read_to_end(&mut Vec::new()).await;
}

fn list(variables: &[(&str, &str)]) -> String {
    let mut text = "BEGIN LIST VAR ups\n".to_owned();
    for (name, value) in variables {
        text.push_str(&format!("VAR ups {name} \"{value}\"\n"));
    }
    text + "END LIST VAR ups\n"
}

fn answer(text: impl Into<String>) -> Turn {
    Turn::Answer(text.into())
}

async fn ask(turn: Turn) -> (Result<BTreeMap<String, String>, NutError>, NutClient) {
    let upsd = FakeUpsd::start(vec![turn]).await;
    let mut client = upsd.client().await;
    let limit = LIMIT;
    (client.list_vars("ups", limit).await, client)
}

#[tokio::test]
async fn a_kept_connection_answers_again_and_again() {
    let full = list(&[("ups.status", "OL"), ("ups.mfr", r#"Say \"A\\B\""#)]);
    let upsd = FakeUpsd::start(vec![answer(full.clone()), answer(list(&[("ups.status", "OB")])), answer(full)]).await;
    let mut client = upsd.client().await;
    let first = client.list_vars("ups", LIMIT).await.unwrap();
    assert_eq!(first["ups.status"], "OL");
    assert_eq!(first["ups.mfr"], r#"Say "A\B""#);
    assert_eq!(client.list_vars("ups", LIMIT).await.unwrap()["ups.status"], "OB");
    assert_eq!(client.list_vars("ups", LIMIT).await.unwrap(), first);
    assert_eq!(upsd.heard(), ["LIST VAR ups"; 3]);
}

#[tokio::test]
async fn an_answer_in_many_packets_is_one_answer() {
    let pieces = list(&[("ups.status", "OL CHRG")]).chars().map(String::from).collect();
    assert_eq!(ask(Turn::Pieces(pieces)).await.0.unwrap()["ups.status"], "OL CHRG");
}

#[tokio::test]
async fn every_refusal_has_its_name_and_keeps_the_connection() {
    let turns = ErrCode::ALL.iter().map(|(_, spelling)| answer(format!("ERR {spelling}\n")));
    let upsd = FakeUpsd::start(turns.chain([answer("ERR BRAND-NEW with words\n"), answer(list(&[]))]).collect()).await;
    let mut client = upsd.client().await;
    for (expected, _) in ErrCode::ALL {
        let error = client.list_vars("ups", LIMIT).await.unwrap_err();
        assert!(matches!(&error, NutError::Refused { code, .. } if *code == expected), "{error}");
    }
    let error = client.list_vars("ups", LIMIT).await.unwrap_err();
    assert!(error.to_string().ends_with("it answered ERR BRAND-NEW"), "{error}");
    assert!(client.list_vars("ups", LIMIT).await.is_ok());
}

#[tokio::test]
async fn refusals_become_the_kinds_that_rules_know() {
    for (code, kind) in [
        ("UNKNOWN-UPS", FailureKind::UnknownUps),
        ("DATA-STALE", FailureKind::DataStale),
        ("DRIVER-NOT-CONNECTED", FailureKind::DriverNotConnected),
        ("ACCESS-DENIED", FailureKind::AccessDenied),
        ("UNKNOWN-COMMAND", FailureKind::Other),
    ] {
        assert_eq!(ask(answer(format!("ERR {code}\n"))).await.0.unwrap_err().kind(), kind, "{code}");
    }
}

#[tokio::test]
async fn nonsense_drops_the_connection() {
    for text in [
        "HTTP/1.1 400 Bad Request\n".to_owned(),
        "\u{fffd}\u{1}\u{2}\n".to_owned(),
        "BEGIN LIST VAR other\nEND LIST VAR other\n".to_owned(),
        "BEGIN LIST VAR ups\nVAR other ups.status \"OL\"\n".to_owned(),
        "BEGIN LIST VAR ups\nBEGIN LIST VAR ups\n".to_owned(),
        "x".repeat(LINE_BYTES_MAX + 1),
    ] {
        let (result, mut client) = ask(answer(text.clone())).await;
        assert_eq!(result.unwrap_err().kind(), FailureKind::Malformed, "{text:.40}");
        assert!(client.is_dropped());
        assert!(matches!(client.list_vars("ups", LIMIT).await, Err(NutError::Dropped { .. })));
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_cut() {
    let names: Vec<String> = (0..=VARIABLES_MAX).map(|number| format!("outlet.{number}.id")).collect();
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(ask(answer(list(&variables))).await.0.unwrap_err().kind(), FailureKind::Malformed);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_drops_the_connection() {
    for turn in [Turn::Silence, answer("BEGIN LIST VAR ups\nVAR ups ups.sta")] {
        let upsd = FakeUpsd::start(vec![turn, Turn::Silence]).await;
        let mut client = upsd.client().await;
        let error = client.list_vars("ups", SHORT).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TimedOut, "{error}");
        assert!(client.is_dropped());
    }
}

#[tokio::test]
async fn a_closed_or_half_closed_connection_is_told_from_a_bad_answer() {
    for turn in [Turn::HangUp, Turn::HalfClose] {
        let error = ask(turn).await.0.unwrap_err();
        assert!(error.is_stale_connection(), "{error}");
        assert_eq!(error.kind(), FailureKind::Unreachable);
    }
}

#[tokio::test]
async fn a_call_that_was_given_up_leaves_no_answer_for_the_next_one() {
    let upsd = FakeUpsd::start(vec![Turn::Silence]).await;
    let mut client = upsd.client().await;
    assert!(tokio::time::timeout(SHORT, client.list_vars("ups", LIMIT)).await.is_err());
    assert!(client.is_dropped());
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = NutClient::connect(&mut Endpoint::new("127.0.0.1", port), None, LIMIT).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unreachable);
}

fn ups(port: u16) -> Ups {
    Ups {
        nut_name: "ups".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        username: None,
        password_file: None,
        cut_load: None,
        witness: None,
        ignored_words: Default::default(),
        recharge: Duration::from_secs(8 * 3600),
    }
}

struct Watched {
    upses: Upses,
    wake: Arc<Notify>,
}

impl Watched {
    fn start(ports: &[(&str, u16)]) -> Self {
        let all = ports.iter().map(|(name, port)| (UpsName::from(*name), ups(*port))).collect();
        Self::over(&all, Duration::from_secs(2))
    }

    fn over(all: &BTreeMap<UpsName, Ups>, timeout: Duration) -> Self {
        let wake = Arc::new(Notify::new());
        let upses = Upses::watch(all, Duration::from_millis(10), timeout, &wake);
        Self { upses, wake }
    }

    /// Waits for a pass to be woken until the reading is as expected.
    async fn until(&self, name: &str, mut is_as_expected: impl FnMut(&Reading<UpsReading>) -> bool) {
        let watching = async {
            while !is_as_expected(&self.upses.readings()[&UpsName::from(name)]) {
                self.wake.notified().await;
            }
        };
        let timed_out = tokio::time::timeout(LIMIT, watching).await.is_err();
        assert!(!timed_out, "{:?}", self.upses.readings());
    }
}

fn status(reading: &Reading<UpsReading>) -> String {
    reading.value().map(|value| value.status.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_upsd_that_comes_back_is_read_again_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let first = FakeUpsd::serve(listener, vec![answer(list(&[("ups.status", "OL")])); 3]);
    let watched = Watched::start(&[("u", port)]);
    watched.until("u", |reading| status(reading) == "OL").await;
    drop(first);
    // The kept connection has no more answers either, but stays open: that is a deadline, then a refusal.
    watched.until("u", |reading| reading.failure().is_some_and(|why| why.kind != FailureKind::NotYet)).await;
    let again = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _second = FakeUpsd::serve(again, vec![answer(list(&[("ups.status", "OB LB")])); 1000]);
    watched.until("u", |reading| status(reading) == "OB LB").await;
}

#[tokio::test]
async fn a_connection_that_upsd_closed_costs_no_poll() {
    let upsd = FakeUpsd::start(vec![answer(list(&[("ups.status", "OB")])), Turn::HangUp]).await;
    let watched = Watched::start(&[("u", upsd.port)]);
    let mut polls = 0;
    watched
        .until("u", |reading| {
            assert!(reading.failure().is_none_or(|why| why.kind == FailureKind::NotYet), "{reading:?}");
            polls += usize::from(reading.value().is_some());
            polls > 5
        })
        .await;
}

#[tokio::test]
async fn a_dead_upsd_delays_no_other() {
    let dead = FakeUpsd::start(vec![Turn::Silence]).await;
    let alive = FakeUpsd::start(vec![answer(list(&[("ups.status", "OB")])); 1000]).await;
    let watched = Watched::start(&[("dead", dead.port), ("alive", alive.port)]);
    let mut began = std::collections::BTreeSet::new();
    watched
        .until("alive", |reading| {
            began.insert(reading.began());
            began.len() > 10
        })
        .await;
    assert!(watched.upses.readings()[&UpsName::from("dead")].value().is_none());
}

#[tokio::test]
async fn an_answer_without_a_status_is_unknown_and_not_empty() {
    let upsd = FakeUpsd::start(vec![answer(list(&[("battery.charge", "100")])); 1000]).await;
    let watched = Watched::start(&[("u", upsd.port)]);
    watched.until("u", |reading| reading.failure().is_some_and(|why| why.kind == FailureKind::Malformed)).await;
}

fn commands(names: &[&str]) -> String {
    let lines: String = names.iter().map(|name| format!("CMD ups {name}\n")).collect();
    format!("BEGIN LIST CMD ups\n{lines}END LIST CMD ups\n")
}

#[tokio::test]
async fn the_commands_of_a_ups_are_listed_and_a_broken_list_is_none() {
    let upsd =
        FakeUpsd::start(vec![answer(commands(&["shutdown.return", "load.off"])), answer(commands(&["a b"]))]).await;
    let mut client = upsd.client().await;
    let known = client.list_commands("ups", LIMIT).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["load.off", "shutdown.return"]);
    let error = client.list_commands("ups", LIMIT).await.unwrap_err();
    assert!(matches!(error, NutError::Protocol { .. }), "{error}");
    assert_eq!(upsd.heard(), ["LIST CMD ups"; 2]);
}

/// Sends an instant command to a upsd that takes the password and then answers like this.
async fn command(turns: Vec<Turn>) -> (Result<(), NutError>, Vec<String>) {
    let all = [answer("OK\n"), answer("OK\n")].into_iter().chain(turns).collect();
    let upsd = FakeUpsd::start(all).await;
    let mut client = upsd.client().await;
    let credentials = Credentials::new("hecate", "s3cret\n");
    let sent = client.instant_command(&credentials, ("ups", "shutdown.return"), SHORT * 10).await;
    (sent, upsd.heard())
}

#[tokio::test]
async fn an_instant_command_is_followed_to_its_end_where_upsd_can() {
    let tracked = vec![answer("OK\n"), answer("OK TRACKING 7\n"), answer("PENDING\n"), answer("SUCCESS\n")];
    let (sent, heard) = command(tracked).await;
    sent.unwrap();
    assert_eq!(heard[3], "INSTCMD ups shutdown.return");
    assert_eq!(heard[4..], ["GET TRACKING 7"; 2]);
    assert!(!heard.iter().any(|line| line.starts_with("LOGIN")), "hecate becomes no client of the UPS");
    let (sent, _) = command(vec![answer("ERR UNKNOWN-COMMAND\n"), answer("OK\n")]).await;
    sent.unwrap();
}

#[tokio::test]
async fn an_instant_command_that_was_refused_is_told_from_one_that_nobody_knows_of() {
    let refused = [
        vec![answer("OK\n"), answer("ERR CMD-NOT-SUPPORTED\n")],
        vec![answer("OK\n"), answer("OK TRACKING 7\n"), answer("ERR FAILED\n")],
    ];
    for turns in refused {
        let error = command(turns).await.0.unwrap_err();
        assert!(!error.is_in_doubt(), "{error}");
    }
    let lost = [
        vec![answer("OK\n"), Turn::Silence],
        vec![answer("OK\n"), Turn::HalfClose],
        vec![answer("OK\n"), answer("nonsense\n")],
        vec![answer("OK\n"), answer("OK TRACKING 7\n"), Turn::Silence],
    ];
    for turns in lost {
        let error = command(turns).await.0.unwrap_err();
        assert!(error.is_in_doubt(), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
    // Before the command is sent nothing is in doubt.
    assert!(!command(vec![Turn::Silence]).await.0.unwrap_err().is_in_doubt());
}
