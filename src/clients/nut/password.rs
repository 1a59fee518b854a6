//! Reads password files that may lie on a dead file server.
//!
//! An open or a read there hangs for as long as the server is away, and no deadline ends it. So each file is read by a
//! thread that nobody has to wait for, at most one a file in this process, and its last good text is kept. A text is
//! never printed.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The longest password file that is read, in bytes. upsd cuts a word at 512 (`PCONF_DEFAULT_WORDLEN_LIMIT`).
const PASSWORD_BYTES_MAX: u64 = 4096;

/// How long a read that somebody else has begun is waited for where a last good text is known. A file that answers at all
/// does so at once.
const JOINED_WAIT: Duration = Duration::from_millis(100);

/// All files that were asked for since hecate started. Of the process, so that a configuration that is read again neither
/// forgets a text nor starts another read of a file that hangs.
static FILES: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

/// No `Debug`: it holds a password.
#[derive(Default)]
struct File {
    last_good: Option<String>,
    reading: Option<watch::Receiver<Option<Outcome>>>,
}

type Outcome = Result<String, PasswordError>;

/// What is known of a password file. No `Debug`: it holds a password.
pub struct Password {
    /// Its text: what stands there now, or else what stood there last.
    pub text: Option<String>,
    /// Why it could not be read now.
    pub failure: Option<PasswordError>,
}

/// Why a password file could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PasswordError {
    /// The system does not let hecate read it.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: String,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// It has no text, as while somebody writes it.
    #[error("take a password from {path}: it is empty")]
    Empty {
        /// Which file.
        path: String,
    },
    /// It is too long for a password.
    #[error("take a password from {path}: it is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong {
        /// Which file.
        path: String,
    },
    /// It hangs.
    #[error("read {path}: no answer in time")]
    Late {
        /// Which file.
        path: String,
    },
}

/// Reads a password file, and waits for it until `end` at most.
///
/// While an earlier read still hangs no other one is begun, and where a last good text is known it is hardly waited for.
pub async fn read(path: &Path, end: Instant) -> Password {
    read_by(path, end, read_file).await
}

async fn read_by(path: &Path, end: Instant, reader: impl FnOnce(&Path) -> Outcome + Send + 'static) -> Password {
    let (mut reading, end) = {
        let mut files = files();
        let file = files.entry(path.to_owned()).or_default();
        // The channel of a thread that has died is closed.
        let begun = file.reading.clone().filter(|reading| reading.has_changed().is_ok());
        match (begun, &file.last_good) {
            (Some(reading), Some(_)) => (reading, end.min(Instant::now() + JOINED_WAIT)),
            (Some(reading), None) => (reading, end),
            (None, _) => match begin(path, reader) {
                Ok(reading) => (file.reading.insert(reading).clone(), end),
                Err(source) => {
                    let failure = PasswordError::Read { path: shown(path), source: Arc::new(source) };
                    return Password { text: file.last_good.clone(), failure: Some(failure) };
                }
            },
        }
    };
    let outcome = match timeout_at(end, reading.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    match outcome.unwrap_or_else(|| Err(PasswordError::Late { path: shown(path) })) {
        Ok(text) => Password { text: Some(text), failure: None },
        Err(failure) => {
            let text = files().get(path).and_then(|file| file.last_good.clone());
            Password { text, failure: Some(failure) }
        }
    }
}

/// Starts a thread that reads the file and keeps what it finds. The runtime's own threads are not for this: it waits for
/// them when it ends.
fn begin(
    path: &Path,
    reader: impl FnOnce(&Path) -> Outcome + Send + 'static,
) -> io::Result<watch::Receiver<Option<Outcome>>> {
    let (sender, receiver) = watch::channel(None);
    let path = path.to_owned();
    std::thread::Builder::new().name("nut-password".to_owned()).spawn(move || {
        let outcome = reader(&path);
        if let Some(file) = files().get_mut(&path) {
            file.reading = None;
            if let Ok(text) = &outcome {
                file.last_good = Some(text.clone());
            }
        }
        // Whoever asked may have given up.
        let _ = sender.send(Some(outcome));
    })?;
    Ok(receiver)
}

fn read_file(path: &Path) -> Outcome {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(source) => Err(PasswordError::Read { path: shown(path), source: Arc::new(source) }),
        Ok(_) if text.len() > usize::try_from(PASSWORD_BYTES_MAX).unwrap_or(usize::MAX) => {
            Err(PasswordError::TooLong { path: shown(path) })
        }
        Ok(_) if text.trim().is_empty() => Err(PasswordError::Empty { path: shown(path) }),
        Ok(_) => Ok(text),
    }
}

fn files() -> MutexGuard<'static, BTreeMap<PathBuf, File>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Each test has a file of its own, which nobody opens.
    fn file(name: &str) -> PathBuf {
        PathBuf::from(format!("/nowhere/{name}"))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn good(text: &str) -> impl FnOnce(&Path) -> Outcome + Send + 'static {
        let text = text.to_owned();
        move |_| Ok(text)
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_hangs_has_one_read_in_flight_and_its_late_text_is_kept() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        let path = file("hangs");
        let ((release, released), (begin, begun)) = (mpsc::channel(), mpsc::channel());
        let first = read_by(&path, soon(), move |_| {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            begin.send(()).unwrap();
            released.recv().unwrap()
        });
        let known = first.await;
        assert!(known.text.is_none() && matches!(known.failure, Some(PasswordError::Late { .. })));
        // The paused clock does not wait for a thread to begin.
        begun.recv().unwrap();
        for _ in 0..20 {
            let known = read_by(&path, soon(), |_| {
                BEGUN.fetch_add(1, Ordering::SeqCst);
                Ok("other".to_owned())
            });
            assert!(known.await.text.is_none());
        }
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);
        let reading = files()[&path].reading.clone();
        release.send(Ok("late".to_owned())).unwrap();
        reading.unwrap().wait_for(Option::is_some).await.unwrap();
        let broken = |path: &Path| Err(PasswordError::Empty { path: shown(path) });
        assert_eq!(read_by(&path, soon(), broken).await.text.as_deref(), Some("late"));
    }

    #[tokio::test]
    async fn the_last_good_text_outlives_every_failure_until_there_is_a_new_one() {
        let path = file("fails");
        let end = || Instant::now() + Duration::from_secs(10);
        assert_eq!(read_by(&path, end(), good("first")).await.text.as_deref(), Some("first"));
        let failing = read_by(&path, end(), |path| Err(PasswordError::Empty { path: shown(path) })).await;
        assert_eq!(failing.text.as_deref(), Some("first"));
        assert!(failing.failure.is_some());
        let dying = read_by(&path, end(), |_| std::panic::resume_unwind(Box::new("dies"))).await;
        assert_eq!(dying.text.as_deref(), Some("first"));
        let renewed = read_by(&path, end(), good("second")).await;
        assert_eq!(renewed.text.as_deref(), Some("second"));
        assert!(renewed.failure.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_last_good_text_nobody_waits_for_a_file_that_hangs() {
        let path = file("hangs-later");
        let end = || Instant::now() + Duration::from_secs(60);
        // No clock moves while a thread works: the first text is waited for on the channel.
        let reading = begin_in_registry(&path, good("first"));
        reading.clone().wait_for(Option::is_some).await.unwrap();
        let (_hold, held) = mpsc::channel::<Outcome>();
        let hanging = begin_in_registry(&path, move |_| {
            held.recv().unwrap_or_else(|_| Err(PasswordError::Late { path: String::new() }))
        });
        let before = Instant::now();
        let known = read_by(&path, end(), good("other")).await;
        assert_eq!(known.text.as_deref(), Some("first"));
        assert!(before.elapsed() <= JOINED_WAIT * 2, "{:?}", before.elapsed());
        drop(hanging);
    }

    fn begin_in_registry(
        path: &Path,
        reader: impl FnOnce(&Path) -> Outcome + Send + 'static,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut files = files();
        let reading = begin(path, reader).unwrap();
        files.entry(path.to_owned()).or_default().reading = Some(reading.clone());
        reading
    }
}
