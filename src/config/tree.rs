//! The YAML text as a tree that remembers its lines.
//!
//! Pure. A tree first and types later, because a reader that goes straight into types stops at the first wrong one:
//! from a tree every wrong type and every unknown key is found in one go. Must never fail by panic or without bound,
//! whatever the text: size, depth, nodes and aliases are limited.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::mistake::Mistake;

/// Far above a configuration of hundreds of nodes, far below what would cost noticeable memory.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// The deepest key is `nodes[0].wake.command[0]`, five levels; nothing sensible is four times as deep.
const DEPTH_MAX: usize = 20;

/// A node of the inventory is some twenty values; this is a thousand of them.
const NODES_MAX: usize = 20_000;

/// One value with its line.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: Option<u32>,
    /// What stands there.
    pub(super) content: Content,
}

/// What YAML knows of a value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing, `~` or `null`.
    Empty,
    /// `true` or `false`, and not YAML 1.1's `yes` and `off`.
    Bool(bool),
    /// Integer or decimal; exact up to 2^53, far above any limit in the configuration.
    Number(f64),
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text, with keys that are given twice still in it.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// The key's own line: that of an empty value would be the next key's.
    pub(super) line: Option<u32>,
    /// Its value.
    pub(super) node: Node,
}

impl Node {
    /// What stands there, for a message: `text "30s"`.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Empty => "nothing".to_owned(),
            Content::Bool(value) => format!("{value}"),
            Content::Number(value) => format!("the number {value}"),
            Content::Text(text) => format!("the text {}", quoted(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A text as messages show it: in quotes, escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{:?}", start + "…")
}

/// Reads the text. What is no YAML comes singly: nothing behind it can be trusted.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("{} bytes are more than a configuration can have ({TEXT_BYTES_MAX})", text.len());
        let hint = Some("is it the right file?".to_owned());
        return Err(Mistake { path: String::new(), line: None, problem, hint });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: 1,
            max_nodes: NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Content>>(text, options).map(Node::from).map_err(|error| {
        let (problem, hint) = reason(&error);
        Mistake { path: String::new(), line: error.location().and_then(line), problem, hint }
    })
}

/// What serde-saphyr says, in words for operators.
fn reason(error: &Error) -> (String, Option<String>) {
    let said = error.to_string();
    let is_second = matches!(error, Error::Budget { breach: BudgetBreach::Documents { .. }, .. });
    // Depth, nodes and aliases each have an error of their own, some of them wrapped in another.
    let is_too_much = said.contains("budget breached") || said.contains("limit exceeded");
    let (problem, hint) = if is_second {
        ("a second document begins here", Some("remove the \"---\" and what follows"))
    } else if is_too_much {
        ("there is more in it than a configuration can have", Some("is it the right file?"))
    } else {
        // The line goes in front, as for every other mistake.
        (said.split_once(" at line ").map_or(said.as_str(), |(problem, _)| problem), None)
    };
    (format!("not readable as YAML: {problem}"), hint.map(str::to_owned))
}

fn line(location: Location) -> Option<u32> {
    u32::try_from(location.line()).ok().filter(|line| *line > 0)
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self { line: line(spanned.referenced), content: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Empty)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Empty)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value as f64))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Content, E> {
        Ok(Content::Number(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Content, E> {
        Ok(Content::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element::<Spanned<Content>>()? {
            list.push(element.into());
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Content>>()? {
            entries.push(Entry { line: line(key.referenced), key: key.value, node: value.into() });
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        match parse(text) {
            Ok(node) => format!("{:?}", node.content),
            Err(mistake) => mistake.in_file("f").to_string(),
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let root = parse("a: 1\n\nb:\n  - x\n  - {c: y}\nd:\ne: &p off\nf: *p\n").expect("this is YAML");
        let Content::Map(entries) = root.content else { panic!("a mapping") };
        let lines: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.line)).collect();
        let expected = [("a", 1), ("b", 3), ("d", 6), ("e", 7), ("f", 8)];
        assert_eq!(lines, expected.map(|(key, line)| (key, Some(line))));
        let Content::List(list) = &entries[1].node.content else { panic!("a list") };
        assert_eq!(list.iter().map(|node| node.line).collect::<Vec<_>>(), [Some(4), Some(5)]);
        assert!(matches!(&entries[4].node.content, Content::Text(text) if text == "off"));
    }

    #[test]
    fn numbers_of_every_kind_are_numbers() {
        assert!(
            said("a: [1, -2, 3.5, .inf, .nan, 99999999999999999999999999999999999999999, 1e999]").contains("Number")
        );
    }

    #[test]
    fn duplicates_stay_in_the_tree() {
        assert_eq!(said("{a: 1, a: 2}").matches("key: \"a\"").count(), 2);
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        for text in ["a: [1\nb: 2", "a: *nowhere", "a: !!python/object x", "a: \"x", "a: 1\n---\nb: 2"] {
            assert!(said(text).contains("not readable as YAML"), "{text:?} gave {}", said(text));
        }
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(100_000);
        assert!(said(&deep).contains("not readable as YAML"));
        let indented: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(said(&indented).contains("not readable as YAML"));
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..30 {
            laughs += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
        }
        assert!(said(&laughs).contains("not readable as YAML"));
        assert!(said(&"#".repeat(TEXT_BYTES_MAX + 1)).contains("more than a configuration can have"));
    }
}
