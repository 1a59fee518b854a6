//! The words of a line: how an argument is written and an answer is read.
//!
//! upsd reads both through NUT's own parser (`common/parseconf.c`). Small servers compare the raw line or split it at
//! blanks, so nothing may be quoted that upsd takes without quotes.

use super::NutError;

/// Writes one argument, quoted only where it must be. Control characters cannot be sent.
///
/// Quotes stand around what upsd would split or drop: blanks, an empty word, and `=`, which is a word of its own. Within
/// them `"` and `\` are escaped, and `#` too, which begins a comment even there.
pub(super) fn quote(argument: &str, what: &'static str) -> Result<String, NutError> {
    if argument.chars().any(char::is_control) {
        return Err(NutError::Unsendable { what });
    }
    let is_special = |c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '#' | '=');
    if !argument.is_empty() && !argument.contains(is_special) {
        return Ok(argument.to_owned());
    }
    let mut quoted = String::with_capacity(argument.len() + 2);
    quoted.push('"');
    for character in argument.chars() {
        if matches!(character, '"' | '\\' | '#') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Ok(quoted)
}

/// Splits a line into words; `"..."` groups, `\` escapes. None where a quoted word does not end.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut characters = line.trim_end_matches(['\r', '\n']).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().push(characters.next()?),
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !is_quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if is_quoted {
        return None;
    }
    words.extend(word);
    Some(words)
}

/// Whether the words begin as expected, in any case: upsd compares names and keywords so, and small servers answer so.
pub(super) fn begins(words: &[String], expected: &[&str]) -> bool {
    words.len() >= expected.len() && words.iter().zip(expected).all(|(word, other)| word.eq_ignore_ascii_case(other))
}

/// Whether a line cannot be the answer to any question of hecate's, and is passed over.
///
/// These are an empty line, what some servers greet with (it is the answer to `VER`, which hecate never asks), and
/// `NOTIFY`, which some servers send to everybody when their UPS' status changes.
pub(super) fn is_chatter(words: &[String]) -> bool {
    words.is_empty() || begins(words, &["Network", "UPS", "Tools"]) || begins(words, &["NOTIFY"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_blanks_outside_of_quotes() {
        let line = r#"VAR ups ups.mfr "American \"Power\" \\ Conversion"   end"#;
        let words = split(&format!("{line}\r\n")).unwrap();
        assert_eq!(words, ["VAR", "ups", "ups.mfr", r#"American "Power" \ Conversion"#, "end"]);
        assert_eq!(split("VAR ups x \"\"\n").unwrap()[3], "");
        assert!(split("\n").unwrap().is_empty());
    }

    #[test]
    fn a_quote_or_escape_without_an_end_is_no_line() {
        assert_eq!(split("VAR ups x \"half"), None);
        assert_eq!(split("VAR ups x half\\"), None);
    }

    #[test]
    fn what_is_quoted_splits_back_into_itself() {
        for text in ["plain", "two words", r#"q"u\o#t=e"#, "", "ünï", "no\u{a0}break", "#", "="] {
            assert_eq!(split(&quote(text, "text").unwrap()).unwrap(), [text]);
        }
    }

    #[test]
    fn a_line_end_cannot_be_smuggled_into_a_question() {
        let error = quote("secret\nLOGIN ups", "PASSWORD").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn no_answer_is_chatter() {
        for line in ["", " \t", "Network UPS Tools upsd 2.8.0 - https://www.networkupstools.org/", "NOTIFY ups OB"] {
            assert!(is_chatter(&split(line).unwrap()), "{line:?}");
        }
        for line in ["OK", "ERR", "BEGIN LIST VAR ups", "VAR ups a b", "END LIST VAR ups", "Network", "SUCCESS", "x"] {
            assert!(!is_chatter(&split(line).unwrap()), "{line:?}");
        }
    }
}
