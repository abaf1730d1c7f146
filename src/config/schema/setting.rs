//! What a setting is: its place, its type with bounds, its default, and one sentence about it.
//! Reading, printing and the reference all follow from these; `table` holds the settings, `kind`
//! the types.

use crate::{
    config::{error::Problem, source::env::PREFIX},
    domain::account::ProviderId,
};

/// Stands in a key for the name that somebody gave an account or a caller.
pub(in crate::config) const NAME: &str = "<name>";

/// A setting with values of type `T`.
pub(in crate::config) struct Setting<T: ValueType> {
    /// Its path in the file, such as `server.listen` or `accounts.<name>.provider`.
    pub(in crate::config) key: &'static str,
    /// What it is if nobody says.
    pub(in crate::config) default: fn() -> T,
    /// Said of a default that depends on something else.
    pub(in crate::config) default_note: Option<&'static str>,
    /// What a value has to keep within.
    pub(in crate::config) bounds: T::Bounds,
    /// The providers it exists for; empty for all.
    pub(in crate::config) owners: &'static [ProviderId],
    /// One sentence.
    pub(in crate::config) doc: &'static str,
}

/// A value as it was written.
#[derive(Clone)]
pub(in crate::config) enum RawSetting {
    /// In the environment or on the command line: text, whatever the type.
    Plain(String),
    /// In the file, as the type it has there.
    Text(String),
    Whole(i128),
    Decimal(f64),
    Bool(bool),
    List(Vec<Self>),
    /// Something in the file that no setting is: the name of its type.
    Other(&'static str),
}

impl RawSetting {
    /// The text, of values that are text.
    pub(in crate::config) fn text(&self) -> Option<&str> {
        match self {
            Self::Plain(text) | Self::Text(text) => Some(text),
            Self::Whole(_) | Self::Decimal(_) | Self::Bool(_) | Self::List(_) | Self::Other(_) => {
                None
            }
        }
    }

    /// ` = …` for numbers and truths. Text is never repeated: whatever somebody wrote in the
    /// wrong place may be a secret, and the mistake names the place.
    pub(in crate::config) fn shown(&self) -> String {
        match self {
            Self::Plain(text) if text.parse::<f64>().is_ok() => format!("= {text} "),
            Self::Plain(_) | Self::Text(_) => String::new(),
            Self::Whole(number) => format!("= {number} "),
            Self::Decimal(number) => format!("= {number} "),
            Self::Bool(truth) => format!("= {truth} "),
            Self::List(_) => "= (array) ".to_owned(),
            Self::Other(kind) => format!("= ({kind}) "),
        }
    }
}

/// A type that settings can have.
pub(in crate::config) trait ValueType: Sized {
    /// What narrows it.
    type Bounds;

    /// Reads a value that was given.
    fn read(raw: &RawSetting, bounds: &Self::Bounds) -> Result<Self, Problem>;

    /// Writes it as TOML; `None` for what is not set.
    fn toml(&self) -> Option<String>;

    /// The type in words.
    fn shape(bounds: &Self::Bounds) -> String;
}

impl<T: ValueType> ValueType for Option<T> {
    type Bounds = T::Bounds;

    fn read(raw: &RawSetting, bounds: &T::Bounds) -> Result<Self, Problem> {
        T::read(raw, bounds).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref()?.toml()
    }

    fn shape(bounds: &T::Bounds) -> String {
        T::shape(bounds)
    }
}

/// A setting of any type, for what is not about values.
pub(in crate::config) trait Described: Sync {
    /// See [`Setting::key`].
    fn key(&self) -> &'static str;
    /// Its type in words.
    fn shape(&self) -> String;
    /// Its default in words.
    fn default(&self) -> String;
    /// See [`Setting::owners`].
    fn owners(&self) -> &'static [ProviderId];
    /// See [`Setting::doc`].
    fn doc(&self) -> String;

    /// The part of the key before the last point.
    fn section(&self) -> &'static str {
        self.key()
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part of the key after the last point.
    fn word(&self) -> &'static str {
        self.key().rsplit_once('.').map_or("", |(_, word)| word)
    }
}

impl<T: ValueType<Bounds: Sync>> Described for Setting<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn shape(&self) -> String {
        T::shape(&self.bounds)
    }

    fn default(&self) -> String {
        match (self.default_note, (self.default)().toml()) {
            (Some(note), _) => note.to_owned(),
            (None, Some(toml)) => format!("`{toml}`"),
            (None, None) => "none".to_owned(),
        }
    }

    fn owners(&self) -> &'static [ProviderId] {
        self.owners
    }

    fn doc(&self) -> String {
        self.doc.trim().to_owned()
    }
}

/// The key of one account's or caller's setting.
pub(in crate::config) fn keyed(key: &str, name: &str) -> String {
    key.replace(NAME, name)
}

/// The environment variable of a key.
pub(in crate::config) fn variable(key: &str) -> String {
    let path: String = key
        .chars()
        .filter(|c| !matches!(c, '<' | '>'))
        .map(|c| match c {
            '.' | '-' => '_',
            c => c.to_ascii_uppercase(),
        })
        .collect();
    format!("{PREFIX}{path}")
}

/// A TOML string.
pub(in crate::config) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
