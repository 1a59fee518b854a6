//! One connection: sends a question, reads its answer, and takes no answer that belongs to no question.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::words::{begins, is_chatter, split};
use super::{COMMANDS_MAX, ErrCode, LINE_BYTES_MAX, NutError, VARIABLES_MAX, protocol};

/// The most lines in a row that are passed over because they answer nothing. One greeting, one notice and an empty line
/// after each are what real servers send.
const CHATTER_LINES_MAX: usize = 10;

#[derive(Debug)]
pub(super) struct Wire {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer }
    }

    /// Sends a question, unless something lies unread that would be taken for its answer.
    pub(super) async fn send(&mut self, upsd: &str, line: &str) -> Result<(), NutError> {
        self.read_leftovers(upsd).await?;
        self.writer
            .write_all(line.as_bytes())
            .await
            .map_err(|source| NutError::Broken { upsd: upsd.to_owned(), source })
    }

    /// Reads what has come since the last answer, and passes over it where it can answer nothing.
    ///
    /// Anything else is late or was sent twice, and more of it may be on its way. It is not thrown away but an error,
    /// which costs the connection: on a new one every answer belongs to a question again. Nothing was sent by then.
    async fn read_leftovers(&mut self, upsd: &str) -> Result<(), NutError> {
        let closed = |source| NutError::Closed { upsd: upsd.to_owned(), source };
        // The runtime knows of what has arrived only once it has looked at its sockets again.
        tokio::task::yield_now().await;
        let mut unread = self.reader.buffer().to_vec();
        self.reader.consume(unread.len());
        let mut chunk = [0; 1024];
        while unread.len() <= LINE_BYTES_MAX {
            match self.reader.get_ref().try_read(&mut chunk) {
                Ok(0) => return Err(closed(end_of_stream())),
                Ok(count) => unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(closed(error)),
            }
        }
        let text = String::from_utf8_lossy(&unread);
        // What follows the last line end is half a line, of which only a blank is known to be nothing more.
        let (lines, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        let is_nothing = |line: &str| split(line).is_some_and(|words| is_chatter(&words));
        let is_short = lines.split('\n').count() <= CHATTER_LINES_MAX && unread.len() <= LINE_BYTES_MAX;
        if is_short && rest.trim().is_empty() && lines.split('\n').all(is_nothing) {
            return Ok(());
        }
        Err(NutError::Unasked { upsd: upsd.to_owned() })
    }

    /// Reads the words of the next line that may be an answer; an `ERR` becomes an error.
    pub(super) async fn read_words(&mut self, upsd: &str) -> Result<Vec<String>, NutError> {
        let words = self.read_line_of_words(upsd).await?;
        words.ok_or_else(|| protocol(upsd, "a quoted word does not end".to_owned()))
    }

    /// The same; None for a line whose last word does not end.
    async fn read_line_of_words(&mut self, upsd: &str) -> Result<Option<Vec<String>>, NutError> {
        for _ in 0..=CHATTER_LINES_MAX {
            let line = self.read_line(upsd).await?;
            let Some(words) = split(&line) else { return Ok(None) };
            if is_chatter(&words) {
                continue;
            }
            if begins(&words, &["ERR"]) {
                let code = words.get(1).map_or(ErrCode::Other(String::new()), |word| ErrCode::parse(word));
                return Err(NutError::Refused { upsd: upsd.to_owned(), code });
            }
            return Ok(Some(words));
        }
        Err(protocol(upsd, format!("more than {CHATTER_LINES_MAX} lines in a row answer nothing")))
    }

    async fn read_line(&mut self, upsd: &str) -> Result<String, NutError> {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|source| NutError::Broken { upsd: upsd.to_owned(), source })?;
        if line.last() == Some(&b'\n') {
            // No server moves the cursor of whoever reads it.
            let text = String::from_utf8_lossy(&line);
            let line = text.trim_matches(['\r', '\n']);
            return Ok(line.chars().map(|it| if it.is_control() && it != '\t' { '\u{fffd}' } else { it }).collect());
        }
        if line.len() >= LINE_BYTES_MAX {
            return Err(protocol(upsd, format!("a line is longer than {LINE_BYTES_MAX} bytes")));
        }
        Err(NutError::Broken { upsd: upsd.to_owned(), source: end_of_stream() })
    }

    /// Reads a list of variables. A variable without a value is left out: nothing is known of it.
    pub(super) async fn read_variables(&mut self, upsd: &str, ups: &str) -> Result<BTreeMap<String, String>, NutError> {
        let mut variables = BTreeMap::new();
        let mut count = 0;
        self.begin_list(upsd, "VAR", ups).await?;
        while let Some(words) = self.read_item(upsd, "VAR", ups).await? {
            count += 1;
            if count > VARIABLES_MAX {
                return Err(protocol(upsd, format!("the list has more than {VARIABLES_MAX} variables")));
            }
            match words.as_slice() {
                [] => return Err(protocol(upsd, "a line of the list is neither VAR nor END LIST".to_owned())),
                [_] => {}
                // upsd quotes a value; servers that do not leave its words as they are.
                [name, value @ ..] => {
                    variables.insert(name.to_ascii_lowercase(), value.join(" "));
                }
            }
        }
        Ok(variables)
    }

    /// Reads a list of instant commands.
    pub(super) async fn read_commands(&mut self, upsd: &str, ups: &str) -> Result<BTreeSet<String>, NutError> {
        let mut commands = BTreeSet::new();
        let mut count = 0;
        self.begin_list(upsd, "CMD", ups).await?;
        while let Some(words) = self.read_item(upsd, "CMD", ups).await? {
            let [name] = words.as_slice() else {
                return Err(protocol(upsd, "a line of the list is neither CMD nor END LIST".to_owned()));
            };
            commands.insert(name.clone());
            count += 1;
            if count > COMMANDS_MAX {
                return Err(protocol(upsd, format!("the list has more than {COMMANDS_MAX} commands")));
            }
        }
        Ok(commands)
    }

    async fn begin_list(&mut self, upsd: &str, kind: &str, ups: &str) -> Result<(), NutError> {
        let words = self.read_words(upsd).await?;
        if words.len() == 4 && begins(&words, &["BEGIN", "LIST", kind, ups]) {
            return Ok(());
        }
        Err(protocol(upsd, format!("the list does not begin with BEGIN LIST {kind} {ups}")))
    }

    /// What follows `KIND UPS` on the next line of a list; None at its end.
    async fn read_item(&mut self, upsd: &str, kind: &str, ups: &str) -> Result<Option<Vec<String>>, NutError> {
        // A value that a small server did not escape is one value less, and no reason to know nothing of its UPS.
        let mut words = loop {
            if let Some(words) = self.read_line_of_words(upsd).await? {
                break words;
            }
        };
        if words.len() == 4 && begins(&words, &["END", "LIST", kind, ups]) {
            return Ok(None);
        }
        if begins(&words, &[kind, ups]) {
            return Ok(Some(words.split_off(2)));
        }
        Err(protocol(upsd, format!("a line of the list is neither {kind} {ups} nor END LIST")))
    }
}

fn end_of_stream() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "upsd closed the connection")
}
