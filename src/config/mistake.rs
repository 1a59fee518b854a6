//! What is wrong with a configuration, said so that its author can put it right: where, what, and what to do.
//!
//! Pure. Must never hold the value of a key that hecate does not know: it may be a password.

use std::fmt;

use super::tree::quoted;

/// One thing that is wrong, or, among the warnings, odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path: `nodes[2].feeds[0]`; empty where the whole text is meant.
    pub path: String,
    /// The line in the file, counted from 1; None where no line is to blame.
    pub line: Option<u32>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Mistake {
    /// The line to print: `hecate.yaml:12: nodes[2].feeds[0]: unknown UPS "a"; did you mean "b"?`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            f.write_str(file)?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {}", Said(self))
        })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        Said(self).fmt(f)
    }
}

/// The part that does not depend on how the place is written.
struct Said<'a>(&'a Mistake);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        f.write_str(&self.0.problem)?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of one configuration, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("understand the configuration: {} in it", count(self.0.len()))]
pub struct ConfigMistakes(pub Vec<Mistake>);

impl ConfigMistakes {
    /// One line a mistake, as `hecate check` prints them.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| self.0.iter().try_for_each(|mistake| writeln!(f, "{}", mistake.in_file(file))))
    }
}

fn count(mistakes: usize) -> String {
    match mistakes {
        1 => "1 mistake".to_owned(),
        more => format!("{more} mistakes"),
    }
}

/// A place in the configuration: the path of a key and the line it stands on, or would stand under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// `nodes[2].feeds[0]`.
    pub(super) path: String,
    /// Counted from 1.
    pub(super) line: Option<u32>,
}

impl At {
    /// The place of a key inside this one.
    pub(super) fn key(&self, key: &str, line: Option<u32>) -> At {
        // Keys come from the text: what would garble a terminal or fill a page is escaped and cut.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_key = (1..=64).contains(&key.len()) && key.chars().all(is_plain);
        let shown = if is_key { key.to_owned() } else { quoted(key) };
        let path = if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) };
        At { path, line: line.or(self.line) }
    }

    /// The place of a list's element inside this one.
    pub(super) fn index(&self, index: usize, line: Option<u32>) -> At {
        At { path: format!("{}[{index}]", self.path), line: line.or(self.line) }
    }
}

/// Collects everything that is found, so that one run of `hecate check` says it all.
#[derive(Debug, Default)]
pub(super) struct Findings {
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Findings {
    /// A file with more mistakes than this is not a configuration: reading on would only cost time and paper.
    const MISTAKES_MAX: usize = 200;

    /// Notes a mistake that explains itself.
    pub(super) fn mistake(&mut self, at: &At, problem: impl Into<String>) {
        self.add_mistake(at, problem.into(), None);
    }

    /// Notes a mistake and what to do about it.
    pub(super) fn mistake_with(&mut self, at: &At, problem: impl Into<String>, hint: impl Into<String>) {
        self.add_mistake(at, problem.into(), Some(hint.into()));
    }

    /// Notes a mistake whose remedy is not always known.
    pub(super) fn add_mistake(&mut self, at: &At, problem: String, hint: Option<String>) {
        if !self.is_full() {
            self.mistakes.push(Mistake { path: at.path.clone(), line: at.line, problem, hint });
        }
    }

    /// Notes something odd that hecate can live with.
    pub(super) fn warning(&mut self, at: &At, problem: impl Into<String>, hint: impl Into<String>) {
        self.warnings.push(Mistake {
            path: at.path.clone(),
            line: at.line,
            problem: problem.into(),
            hint: Some(hint.into()),
        });
    }

    /// Whether what is written there is wrong already.
    pub(super) fn has(&self, at: &At) -> bool {
        self.mistakes.iter().any(|mistake| mistake.path == at.path)
    }

    /// Whether so much is wrong that nothing more is noted.
    pub(super) fn is_full(&self) -> bool {
        self.mistakes.len() >= Self::MISTAKES_MAX
    }

    /// The warnings, unless there was a mistake.
    pub(super) fn into_result(mut self) -> Result<Vec<Mistake>, ConfigMistakes> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        self.warnings.sort_by_key(|warning| warning.line);
        if self.mistakes.is_empty() { Ok(self.warnings) } else { Err(ConfigMistakes(self.mistakes)) }
    }
}

/// `did you mean "..."?`, where one of the candidates is near enough to what was written.
pub(crate) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Longer than any name or key there is; comparing it would only cost time.
    if written.len() > 64 {
        return None;
    }
    let limit = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (apart(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| format!("did you mean \"{candidate}\"?"))
}

/// Half a name is as good as a slip of one letter: `password` for `password_file`.
fn apart(written: &str, candidate: &str) -> usize {
    let is_start = written.len() >= 4 && candidate.strip_prefix(written).is_some_and(|rest| rest.starts_with('_'));
    if is_start { 1 } else { distance(written, candidate) }
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_and_missing_letters_are_near() {
        assert_eq!(distance("pyrophros", "pyrphoros"), 2);
        assert_eq!(distance("teh", "the"), 1);
        assert_eq!(did_you_mean("poll_second", ["poll_seconds", "max_age_seconds"]).as_deref(), {
            Some("did you mean \"poll_seconds\"?")
        });
    }

    #[test]
    fn the_first_words_of_a_key_are_near() {
        assert_eq!(did_you_mean("password", ["name", "password_file"]).as_deref(), {
            Some("did you mean \"password_file\"?")
        });
    }

    #[test]
    fn what_is_far_off_gets_no_suggestion() {
        assert_eq!(did_you_mean("colour", ["poll_seconds", "nodes"]), None);
    }

    #[test]
    fn a_mistake_without_a_line_still_names_the_file() {
        let mistake = Mistake { path: String::new(), line: None, problem: "it is empty".to_owned(), hint: None };
        assert_eq!(mistake.in_file("hecate.yaml").to_string(), "hecate.yaml: it is empty");
    }
}
