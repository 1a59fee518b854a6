//! A login that upsd does not take, and a password file that cannot be read: both are worth a warning, and no reason not
//! to read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use hecate::config::CutLoad;
use hecate::snapshot::LoadCutReading;

/// What was logged on this thread while it lives.
struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = LogWriter(Arc::clone(&text));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn lines(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
    }

    fn never_says(&self, secret: &str) {
        assert!(!self.lines("").iter().any(|line| line.contains(secret)), "{:#?}", self.lines(secret));
    }
}

/// A password file in a directory of its own.
struct Secret {
    directory: tempfile::TempDir,
}

impl Secret {
    fn new(text: &str) -> Self {
        let secret = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(secret.path(), text).unwrap();
        secret
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    /// Puts a file in its place that hangs whoever opens it, as one on a dead NFS server does.
    fn hang(&self) {
        let _ = std::fs::remove_file(self.path());
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, self.path(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
}

/// Waits until the UPS was asked several times, and no answer was lost meanwhile.
async fn is_read_on(watched: &Watched, upsd: &FakeUpsd) {
    let asked = |reading: &Reading<UpsReading>| {
        assert!(reading.failure().is_none_or(|why| why.kind == FailureKind::NotYet), "{reading:?}");
        count(upsd, "LIST VAR") > 3
    };
    watched.until("u", asked).await;
}

/// Watches a UPS with a user, at a cadence that leaves the fake no rest.
fn watch(upsd: &FakeUpsd, password_file: &Path, timeout: Duration) -> Watched {
    let with_user =
        Ups { username: Some("monuser".to_owned()), password_file: Some(password_file.to_owned()), ..ups(upsd.port) };
    Watched::over(&BTreeMap::from([(UpsName::from("u"), with_user)]), timeout)
}

/// The first lines of a connection that takes the login, but for what it says to `LOGIN`; then one list, on battery.
fn session(login: &str) -> Vec<Turn> {
    vec![answer("OK\n"), answer("OK\n"), answer(login), answer(list(&[("ups.status", "OB")])), Turn::HangUp]
}

fn count(upsd: &FakeUpsd, line: &str) -> usize {
    upsd.heard().iter().filter(|heard| heard.starts_with(line)).count()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_user_without_a_role_is_warned_of_once_and_the_ups_is_read() {
    let log = Log::start();
    let secret = Secret::new("s3cret\n");
    let upsd = FakeUpsd::start(session("ERR ACCESS-DENIED\n")).await;
    let watched = watch(&upsd, &secret.path(), SECOND);
    watched
        .until("u", |reading| {
            assert!(reading.failure().is_none_or(|why| why.kind == FailureKind::NotYet), "{reading:?}");
            status(reading) == "OB" && count(&upsd, "LOGIN") > 4
        })
        .await;
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in ["LOGIN", "ACCESS-DENIED", "upsmon secondary"] {
        assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
    }
    log.never_says("s3cret");
}

#[tokio::test]
async fn a_user_or_password_that_is_refused_is_warned_of_and_the_ups_is_read() {
    for (turns, verb, code) in [
        (vec![answer("ERR UNKNOWN-COMMAND\n")], "USERNAME", "UNKNOWN-COMMAND"),
        (vec![answer("OK\n"), answer("ERR INVALID-PASSWORD\n")], "PASSWORD", "INVALID-PASSWORD"),
    ] {
        let log = Log::start();
        let secret = Secret::new("s3cret\n");
        let lists = vec![answer(list(&[("ups.status", "OB")])); 1000];
        let upsd = FakeUpsd::start(turns.into_iter().chain(lists).collect()).await;
        let watched = watch(&upsd, &secret.path(), SECOND);
        watched.until("u", |reading| status(reading) == "OB").await;
        assert_eq!(count(&upsd, "LOGIN"), 0, "nothing more is said after a refusal");
        let warnings = log.lines("WARN");
        assert!(warnings.len() == 1 && warnings[0].contains(verb) && warnings[0].contains(code), "{warnings:#?}");
        log.never_says("s3cret");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_on_a_login_is_read_without_one() {
    let secret = Secret::new("s3cret\n");
    for bad in [Turn::Farewell("ERR ACCESS-DENIED\n".to_owned()), Turn::Farewell(String::new()), answer("what?\n")] {
        let log = Log::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                // One answer a connection: to a login a bad one, to a question a good one.
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let mut first = [0];
                    stream.peek(&mut first).await.unwrap();
                    let turn = match first {
                        [b'U'] => bad.clone(),
                        _ => Turn::Farewell(list(&[("ups.status", "OB")])),
                    };
                    tokio::spawn(play(stream, vec![turn], Arc::clone(&heard)));
                }
            }
        });
        let upsd = FakeUpsd { port, questions: heard, task };
        let watched = watch(&upsd, &secret.path(), SECOND);
        is_read_on(&watched, &upsd).await;
        assert_eq!(log.lines("WARN").len(), 1, "{:#?}", log.lines("WARN"));
        log.never_says("s3cret");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_a_login_is_read_without_one() {
    let secret = Secret::new("s3cret\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.push(tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with("LIST VAR") {
                        writer.write_all(list(&[("ups.status", "OB")]).as_bytes()).await.unwrap();
                    }
                }
            }));
        }
    });
    let upsd = FakeUpsd { port, questions: Arc::default(), task };
    let watched = watch(&upsd, &secret.path(), SHORT * 5);
    watched.until("u", |reading| status(reading) == "OB").await;
}

#[tokio::test]
async fn a_login_that_is_taken_again_is_told() {
    let log = Log::start();
    let secret = Secret::new("s3cret\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let first = FakeUpsd::serve(listener, session("ERR ACCESS-DENIED\n"));
    let watched = watch(&first, &secret.path(), SECOND);
    watched.until("u", |reading| status(reading) == "OB").await;
    drop(first);
    watched.until("u", |reading| reading.failure().is_some_and(|why| why.kind != FailureKind::NotYet)).await;
    let again = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _second = FakeUpsd::serve(again, session("OK\n"));
    watched.until("u", |reading| status(reading) == "OB").await;
    assert!(log.lines("INFO").iter().any(|line| line.contains("takes the login")), "{:#?}", log.lines("INFO"));
}

#[tokio::test]
async fn an_error_repeats_no_password_even_where_the_server_does() {
    let log = Log::start();
    let secret = Secret::new("s3cret\n");
    let turns = vec![answer("OK\n"), answer("ERR s3cret\n"), answer(list(&[("ups.status", "OB")]))];
    let upsd = FakeUpsd::start(turns.clone()).await;
    let watched = watch(&upsd, &secret.path(), SECOND);
    watched.until("u", |reading| status(reading) == "OB").await;
    log.never_says("s3cret");
    let upsd = FakeUpsd::start(turns).await;
    let credentials = Credentials::new("hecate", "s3cret\n");
    let sent = upsd.client().await.instant_command(&credentials, ("ups", "load.off"), LIMIT).await;
    let error = sent.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    assert!(error.to_string().ends_with("it answered ERR (an unknown code)"), "{error}");
}

#[tokio::test]
async fn an_instant_command_is_not_sent_for_a_user_that_is_refused() {
    for turns in [vec![answer("ERR INVALID-USERNAME\n")], vec![answer("OK\n"), answer("ERR ACCESS-DENIED\n")]] {
        let upsd = FakeUpsd::start(turns.into_iter().chain(vec![answer("OK\n"); 5]).collect()).await;
        let credentials = Credentials::new("hecate", "s3cret\n");
        let sent = upsd.client().await.instant_command(&credentials, ("ups", "load.off"), LIMIT).await;
        let error = sent.unwrap_err();
        assert!(matches!(error, NutError::Refused { .. }) && !error.is_in_doubt(), "{error}");
        assert_eq!(count(&upsd, "INSTCMD"), 0);
    }
}

#[tokio::test]
async fn a_password_that_cannot_be_sent_is_warned_of_and_the_ups_is_read() {
    let log = Log::start();
    let secret = Secret::new("s3\tcret\n");
    let turns = [answer("OK\n")].into_iter().chain(vec![answer(list(&[("ups.status", "OB")])); 1000]).collect();
    let upsd = FakeUpsd::start(turns).await;
    let watched = watch(&upsd, &secret.path(), SECOND);
    watched.until("u", |reading| status(reading) == "OB").await;
    assert_eq!(log.lines("WARN").len(), 1, "{:#?}", log.lines("WARN"));
    log.never_says("cret");
}

#[tokio::test]
async fn a_password_file_that_hangs_delays_no_reading() {
    let log = Log::start();
    let secret = Secret::new("");
    secret.hang();
    let upsd = FakeUpsd::start(vec![answer(list(&[("ups.status", "OB")])), Turn::HangUp]).await;
    let watched = watch(&upsd, &secret.path(), SHORT * 5);
    is_read_on(&watched, &upsd).await;
    assert_eq!(log.lines("WARN").len(), 1, "{:#?}", log.lines("WARN"));
    drop(watched);
    // Frees the thread that hangs, which would otherwise live as long as the tests. To open a pipe for both never hangs.
    std::fs::OpenOptions::new().read(true).write(true).open(secret.path()).unwrap();
}

#[tokio::test]
async fn the_last_good_password_is_sent_while_its_file_cannot_be_read() {
    let empty = |path: &Path| std::fs::write(path, "\n").unwrap();
    let gone = |path: &Path| std::fs::remove_file(path).unwrap();
    let endless = |path: &Path| std::fs::write(path, "x".repeat(100_000)).unwrap();
    for spoil in [empty, gone, endless as fn(&Path)] {
        let log = Log::start();
        let secret = Secret::new("s3cret\n");
        let upsd = FakeUpsd::start(session("OK\n")).await;
        let watched = watch(&upsd, &secret.path(), SECOND);
        watched.until("u", |reading| status(reading) == "OB").await;
        assert_eq!(log.lines("WARN").len(), 0, "{:#?}", log.lines("WARN"));
        spoil(&secret.path());
        watched.until("u", |_| !log.lines("WARN").is_empty()).await;
        let before = count(&upsd, "PASSWORD s3cret");
        watched.until("u", |_| count(&upsd, "PASSWORD s3cret") > before + 2).await;
        assert_eq!(log.lines("WARN").len(), 1, "{:#?}", log.lines("WARN"));
        std::fs::write(secret.path(), "n3w\n").unwrap();
        watched.until("u", |_| count(&upsd, "PASSWORD n3w") > 0).await;
        log.never_says("s3cret");
    }
}

#[tokio::test]
async fn a_ups_whose_load_is_to_be_cut_is_asked_on_one_connection() {
    let secret = Secret::new("s3cret\n");
    let login = ["OK\n"; 3].map(answer);
    let first = [answer(list(&[("ups.status", "OL")])), answer(commands(&["shutdown.return"]))];
    let lists = ["OB", "OL"].repeat(500).into_iter().map(|status| answer(list(&[("ups.status", status)])));
    let upsd = FakeUpsd::start(login.into_iter().chain(first).chain(lists).collect()).await;
    let cut = CutLoad { command: "shutdown.return".to_owned(), delay: 120 * SECOND };
    let with_cut = Ups {
        username: Some("monuser".to_owned()),
        password_file: Some(secret.path()),
        cut_load: Some(cut),
        ..ups(upsd.port)
    };
    let watched = Watched::over(&BTreeMap::from([(UpsName::from("u"), with_cut)]), SECOND);
    is_read_on(&watched, &upsd).await;
    assert_eq!((count(&upsd, "LOGIN"), count(&upsd, "LIST CMD")), (1, 1), "{:?}", upsd.heard());
}

/// A UPS with `cut_load` behind this server, read with these credentials.
fn watch_cut(upsd: &FakeUpsd, password_file: Option<PathBuf>) -> Watched {
    let cut = CutLoad { command: "shutdown.return".to_owned(), delay: 120 * SECOND };
    let username = password_file.as_ref().map(|_| "monuser".to_owned());
    let one = Ups { username, password_file, cut_load: Some(cut), ..ups(upsd.port) };
    Watched::over(&BTreeMap::from([(UpsName::from("u"), one)]), SECOND)
}

/// Waits until what is said of the cut is as expected.
async fn until_cut(watched: &Watched, is_as_expected: impl Fn(&LoadCutReading) -> bool) {
    let watching = async {
        while !watched.upses.load_cuts().values().any(&is_as_expected) {
            watched.wake.notified().await;
        }
    };
    let timed_out = tokio::time::timeout(LIMIT, watching).await.is_err();
    assert!(!timed_out, "{:?}", watched.upses.load_cuts());
}

#[tokio::test]
async fn a_driver_that_was_replaced_is_asked_for_its_commands_anew() {
    let first = [answer(list(&[("ups.status", "OL")])), answer(commands(&["beeper.off"]))];
    let away = [answer("ERR DRIVER-NOT-CONNECTED\n")];
    let again = [answer(list(&[("ups.status", "OL")])), answer(commands(&["shutdown.return"]))];
    let lists = ["OB", "OL"].repeat(500).into_iter().map(|status| answer(list(&[("ups.status", status)])));
    let turns = first.into_iter().chain(away).chain(again).chain(lists).collect();
    let upsd = FakeUpsd::start(turns).await;
    let watched = watch_cut(&upsd, None);
    until_cut(&watched, |said| said.is_known == Some(true)).await;
    assert_eq!(count(&upsd, "LIST CMD"), 2, "{:?}", upsd.heard());
}

#[tokio::test]
async fn a_password_that_is_missing_or_refused_is_told_before_a_load_is_to_be_cut() {
    let reads = || {
        let known = [answer(list(&[("ups.status", "OL")])), answer(commands(&["shutdown.return"]))];
        let lists = ["OB", "OL"].repeat(500).into_iter().map(|status| answer(list(&[("ups.status", status)])));
        known.into_iter().chain(lists)
    };
    let refused = FakeUpsd::start([answer("ERR ACCESS-DENIED\n")].into_iter().chain(reads()).collect()).await;
    let secret = Secret::new("secret");
    let watched = watch_cut(&refused, Some(secret.path()));
    let says = |said: &LoadCutReading, text: &str| said.login.as_deref().is_some_and(|login| login.contains(text));
    until_cut(&watched, |said| says(said, "USERNAME was answered with ERR ACCESS-DENIED")).await;
    let open = FakeUpsd::start(reads().collect()).await;
    let watched = watch_cut(&open, Some(PathBuf::from("/nonexistent/password")));
    until_cut(&watched, |said| says(said, "without a password")).await;
}

#[tokio::test]
async fn a_user_that_may_only_send_commands_is_no_reason_to_warn_of_the_cut() {
    let login = [answer("OK\n"), answer("OK\n"), answer("ERR ACCESS-DENIED\n")];
    let known = [answer(list(&[("ups.status", "OL")])), answer(commands(&["shutdown.return"]))];
    let lists = ["OB", "OL"].repeat(500).into_iter().map(|status| answer(list(&[("ups.status", status)])));
    let upsd = FakeUpsd::start(login.into_iter().chain(known).chain(lists).collect()).await;
    let secret = Secret::new("secret");
    let watched = watch_cut(&upsd, Some(secret.path()));
    until_cut(&watched, |said| said.is_known == Some(true)).await;
    assert!(watched.upses.load_cuts().values().all(|said| said.login.is_none()), "{:?}", watched.upses.load_cuts());
}
