//! From the tree to types: every wrong type, unknown, doubled and missing key is noted, and reading goes on.
//!
//! Pure. Must never know what a key is for (`raw.rs` lists them) nor what a value looks like (`forms.rs` does).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::mistake::{At, Findings, did_you_mean};
use super::tree::{Content, Entry, Node};

/// The place of one key: what stands there, or that nothing does.
pub(super) trait Slot: Sized {
    /// Reads what stands there.
    fn read(node: Option<&Node>, at: At, found: &mut Findings) -> Self;

    /// Lists the paths of all keys at and below `path`.
    fn keys(path: &str, keys: &mut Vec<String>);
}

/// A value of one form.
pub(super) trait Value: Sized + JsonSchema {
    /// Whether a key without a value means that there is none (a section whose keys are all commented out).
    const MAY_BE_EMPTY: bool = false;

    /// Reads it; None when it has another form, which is then noted.
    fn read(node: &Node, at: &At, found: &mut Findings) -> Option<Self>;

    /// Lists the paths of all keys at and below `path`.
    fn keys(path: &str, keys: &mut Vec<String>) {
        keys.push(path.to_owned());
    }
}

/// A key that may be absent.
#[derive(Clone, Debug)]
pub(super) struct Field<T> {
    /// Where it stands, or would stand.
    pub(super) at: At,
    value: Option<T>,
}

impl<T> Field<T> {
    /// The value, where one was given and has the right form.
    pub(super) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T: Clone> Field<T> {
    /// The value or the default.
    pub(super) fn or(&self, default: T) -> T {
        self.value.clone().unwrap_or(default)
    }
}

impl<T: Value> Slot for Field<T> {
    fn read(node: Option<&Node>, at: At, found: &mut Findings) -> Self {
        let value = node.and_then(|node| match node.content {
            Content::Empty if T::MAY_BE_EMPTY => None,
            Content::Empty => {
                found.mistake_with(&at, "has no value", "give it one, or remove the key");
                None
            }
            Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::List(_) | Content::Map(_) => {
                T::read(node, &at, found)
            }
        });
        Self { at, value }
    }

    fn keys(path: &str, keys: &mut Vec<String>) {
        T::keys(path, keys);
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The keys of one mapping, each at most once.
pub(super) struct Keys<'a>(pub(super) BTreeMap<&'a str, &'a Entry>);

impl<'a> Keys<'a> {
    /// Opens a mapping whose keys are known; notes those that are not, that are doubled, or that are missing.
    pub(super) fn open(
        node: Option<&'a Node>,
        at: &At,
        known: &[&'static str],
        required: &[(&'static str, &'static str)],
        found: &mut Findings,
    ) -> Self {
        let entries = node.and_then(|node| mapping(node, at, found));
        let keys = Self::once(entries.unwrap_or_default(), at, found);
        for (key, entry) in &keys.0 {
            if !known.contains(key) && !found.is_full() {
                let hint = did_you_mean(key, known.iter().copied()).or_else(|| belongs_elsewhere(key, &at.path));
                let hint = hint.unwrap_or_else(|| known_here(known));
                found.mistake_with(&at.key(key, entry.line), "unknown key", hint);
            }
        }
        if entries.is_some() || node.is_some_and(|node| matches!(node.content, Content::Empty)) {
            for (key, what) in required.iter().filter(|(key, _)| !keys.0.contains_key(*key)) {
                found.mistake_with(&at.key(key, None), "is missing", *what);
            }
        }
        keys
    }

    /// Opens a mapping whose keys are free; notes those that are doubled.
    pub(super) fn once(entries: &'a [Entry], at: &At, found: &mut Findings) -> Self {
        let mut keys: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            if let Some(first) = keys.get(entry.key.as_str()) {
                let before = first.line.map_or_else(String::new, |line| format!(" (first on line {line})"));
                let problem = format!("is given twice{before}");
                found.mistake_with(&at.key(&entry.key, entry.line), problem, "keep one of the two");
            } else {
                keys.insert(&entry.key, entry);
            }
        }
        Self(keys)
    }

    /// Reads one key of the mapping.
    pub(super) fn slot<T: Slot>(&self, key: &str, at: &At, found: &mut Findings) -> T {
        let entry = self.0.get(key);
        T::read(entry.map(|entry| &entry.node), at.key(key, entry.and_then(|entry| entry.line)), found)
    }
}

/// The entries of a mapping; anything else is noted.
pub(super) fn mapping<'a>(node: &'a Node, at: &At, found: &mut Findings) -> Option<&'a [Entry]> {
    match &node.content {
        Content::Map(entries) => Some(entries),
        Content::Empty => None,
        Content::Bool(_) | Content::Number(_) | Content::Text(_) | Content::List(_) => {
            wrong_form(node, at, found, "keys with values", None);
            None
        }
    }
}

/// A few keys are named, many are looked up.
fn known_here(known: &[&str]) -> String {
    const FEW: usize = 10;
    if known.len() > FEW { "see hecate.example.yaml".to_owned() } else { format!("known here: {}", known.join(", ")) }
}

/// Where a key that is unknown here would be known.
fn belongs_elsewhere(key: &str, here: &str) -> Option<String> {
    let mut all = Vec::new();
    <super::raw::RawConfig as Slot>::keys("", &mut all);
    let place = all.into_iter().find(|path| path.rsplit('.').next() == Some(key))?;
    match place.rsplit_once('.') {
        None => Some("move it to the top level".to_owned()),
        Some((section, _)) if here == section => None,
        Some((section, _)) => Some(format!("move it to \"{section}\"")),
    }
}

/// Notes that a value has another form than its key wants.
pub(super) fn wrong_form(node: &Node, at: &At, found: &mut Findings, expected: &str, hint: Option<&str>) {
    let problem = format!("expected {expected}, found {}", node.describe());
    found.add_mistake(at, problem, hint.map(str::to_owned));
}

/// Gives a property its description: the doc comment of its field.
pub(super) fn describe(schema: &mut Schema, doc: &str) {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    schema.insert("description".to_owned(), lines.join(" ").trim().into());
}

/// A mapping with known keys: makes the struct, its reader, its list of keys and its JSON Schema from one place.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident requires [$($required:ident = $what:literal),*] {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $($(#[doc = $doc])* pub(super) $field: $type,)*
        }

        impl $crate::config::read::Slot for $name {
            fn read(
                node: Option<&$crate::config::tree::Node>,
                at: $crate::config::mistake::At,
                found: &mut $crate::config::mistake::Findings,
            ) -> Self {
                const KNOWN: &[&str] = &[$(stringify!($field)),*];
                const REQUIRED: &[(&str, &str)] = &[$((stringify!($required), $what)),*];
                let keys = $crate::config::read::Keys::open(node, &at, KNOWN, REQUIRED, found);
                Self { $($field: keys.slot(stringify!($field), &at, found),)* }
            }

            fn keys(path: &str, keys: &mut Vec<String>) {
                let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
                $(<$type as $crate::config::read::Slot>::keys(&format!("{prefix}{}", stringify!($field)), keys);)*
            }
        }

        impl $crate::config::read::Value for $name {
            const MAY_BE_EMPTY: bool = true;

            fn read(
                node: &$crate::config::tree::Node,
                at: &$crate::config::mistake::At,
                found: &mut $crate::config::mistake::Findings,
            ) -> Option<Self> {
                Some(<Self as $crate::config::read::Slot>::read(Some(node), at.clone(), found))
            }

            fn keys(path: &str, keys: &mut Vec<String>) {
                <Self as $crate::config::read::Slot>::keys(path, keys);
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut properties = serde_json::Map::new();
                $({
                    let mut schema = generator.subschema_for::<$type>();
                    $crate::config::read::describe(&mut schema, concat!($($doc, "\n"),*));
                    properties.insert(stringify!($field).to_owned(), schema.to_value());
                })*
                let required: &[&str] = &[$(stringify!($required)),*];
                schemars::json_schema!({
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                })
            }
        }
    };
}

/// A value that is one of a few words: makes the enum, its reader and its JSON Schema from one place.
macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $crate::config::read::Value for $name {
            fn read(
                node: &$crate::config::tree::Node,
                at: &$crate::config::mistake::At,
                found: &mut $crate::config::mistake::Findings,
            ) -> Option<Self> {
                $crate::config::forms::word(node, at, found, &[$(($word, Self::$variant)),*])
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}

pub(super) use {section, words};
