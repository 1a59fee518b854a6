//! The forms a value can have: seconds, percents, paths, words, lists.
//!
//! Pure. Must never know what a key is for; whether a value makes sense is judged in `validate/`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::mistake::{At, Findings, did_you_mean};
use super::read::{Keys, Slot, Value, mapping, wrong_form};
use super::tree::{Content, Node, quoted};

/// A week: longer than anything hecate waits for, short enough that no sum of durations overflows.
const SECONDS_MAX: f64 = 7.0 * 24.0 * 3600.0;

impl Value for bool {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        if let Content::Bool(value) = node.content {
            return Some(value);
        }
        let hint = match &node.content {
            Content::Text(text) => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Some("write true"),
                "no" | "off" | "n" | "false" => Some("write false"),
                _ => None,
            },
            Content::Empty | Content::Bool(_) | Content::Number(_) | Content::List(_) | Content::Map(_) => None,
        };
        wrong_form(node, at, found, "true or false", hint);
        None
    }
}

impl Value for String {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        match &node.content {
            Content::Text(text) if text.chars().any(char::is_control) => {
                found.mistake(at, format!("{} holds a control character", quoted(text)));
                None
            }
            Content::Text(text) => Some(text.clone()),
            Content::Bool(_) | Content::Number(_) => {
                wrong_form(node, at, found, "text", Some("put it in quotes"));
                None
            }
            Content::Empty | Content::List(_) | Content::Map(_) => {
                wrong_form(node, at, found, "text", None);
                None
            }
        }
    }
}

impl Value for PathBuf {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        let text = <String as Value>::read(node, at, found)?;
        if !text.starts_with('/') {
            let hint = if text.starts_with('~') { "write the home directory out" } else { "begin with \"/\"" };
            // Whoever writes a password where its file belongs finds it in no log.
            let shown = if at.path.ends_with("password_file") { "this".to_owned() } else { quoted(&text) };
            found.mistake_with(at, format!("{shown} is not an absolute path"), hint);
            return None;
        }
        // It ends up in a generated ssh_config(5), in quotes.
        if text.contains('"') {
            found.mistake(at, format!("{} holds a quote", quoted(&text)));
            return None;
        }
        Some(PathBuf::from(text))
    }
}

fn number(node: &Node, at: &At, found: &mut Findings, expected: &str, max: f64) -> Option<f64> {
    match node.content {
        Content::Number(value) if (0.0..=max).contains(&value) => Some(value),
        Content::Number(_)
        | Content::Text(_)
        | Content::Bool(_)
        | Content::Empty
        | Content::List(_)
        | Content::Map(_) => {
            wrong_form(node, at, found, expected, number_in_text(node));
            None
        }
    }
}

/// A number with quotes or with its unit is nearly right.
fn number_in_text(node: &Node) -> Option<&'static str> {
    let Content::Text(text) = &node.content else { return None };
    if text.parse::<f64>().is_ok() {
        return Some("remove the quotes");
    }
    text.starts_with(|c: char| c.is_ascii_digit()).then_some("write the number alone: the key names its unit")
}

impl Value for u32 {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        let expected = "a whole number of 0 to 1000000";
        let value = number(node, at, found, expected, 1_000_000.0)?;
        if value.fract() > 0.0 {
            wrong_form(node, at, found, expected, None);
            return None;
        }
        // In range and whole, as checked above.
        Some(value as u32)
    }
}

impl Value for u16 {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        let expected = "a port of 1 to 65535";
        let value = number(node, at, found, expected, 65_535.0)?;
        if value < 1.0 || value.fract() > 0.0 {
            wrong_form(node, at, found, expected, None);
            return None;
        }
        Some(value as u16)
    }
}

impl Value for f64 {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        number(node, at, found, "a number of 0 to 1000000", 1_000_000.0)
    }
}

/// A duration; the key ends in `_seconds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl Value for Seconds {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        let expected = "a number of seconds from 0 to 604800 (a week)";
        let value = number(node, at, found, expected, SECONDS_MAX)?;
        // Milliseconds are as exact as anything here; it makes 0.1 a tenth and not 0.1000000001.
        Some(Self(Duration::from_millis((value * 1000.0).round() as u64)))
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": SECONDS_MAX })
    }
}

/// A share of a hundred; the key has `_percent` in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percent(pub(super) f64);

impl Value for Percent {
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        number(node, at, found, "a percentage from 0 to 100", 100.0).map(Self)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

impl<T: Slot + JsonSchema> Value for Vec<T> {
    const MAY_BE_EMPTY: bool = true;

    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        if let Content::List(list) = &node.content {
            let elements = list.iter().enumerate();
            return Some(elements.map(|(i, node)| T::read(Some(node), at.index(i, node.line), found)).collect());
        }
        wrong_form(node, at, found, "a list", Some("write one \"- \" a line, or [a, b]"));
        None
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        let mut inner = Vec::new();
        T::keys(&format!("{path}[]"), &mut inner);
        // A list of plain values is one key, a list of mappings has keys of its own.
        keys.extend(inner.into_iter().map(|key| key.strip_suffix("[]").map(str::to_owned).unwrap_or(key)));
    }
}

impl<T: Slot + JsonSchema> Value for BTreeMap<String, T> {
    const MAY_BE_EMPTY: bool = true;

    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self> {
        let keys = Keys::once(mapping(node, at, found)?, at, found);
        Some(keys.0.keys().map(|key| ((*key).to_owned(), keys.slot(key, at, found))).collect())
    }
}

/// Finds which of a few words stands there.
pub(super) fn word<T: Copy>(node: &Node, at: &At, found: &mut Findings, words: &[(&str, T)]) -> Option<T> {
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let Content::Text(text) = &node.content else {
        wrong_form(node, at, found, &format!("one of: {}", all.join(", ")), None);
        return None;
    };
    let known = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
    if known.is_none() {
        let problem = format!("expected one of: {}; found {}", all.join(", "), quoted(text));
        found.add_mistake(at, problem, did_you_mean(text, all));
    }
    known
}
