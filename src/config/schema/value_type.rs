//! The types that settings have: numbers, addresses, paths, choices, and text of a known form.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::setting::{RawSetting, ValueType, quoted};
use crate::config::{did_you_mean::did_you_mean, error::Problem};

impl ValueType for bool {
    type Bounds = ();

    fn read(raw: &RawSetting, (): &()) -> Result<Self, Problem> {
        match raw {
            RawSetting::Bool(truth) => Ok(*truth),
            RawSetting::Plain(text) if text == "true" => Ok(true),
            RawSetting::Plain(text) if text == "false" => Ok(false),
            _ => Err(refuse(
                raw,
                "is neither true nor false",
                "give one of them, without quotes",
            )),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn shape((): &()) -> String {
        "true or false".to_owned()
    }
}

macro_rules! whole_number {
    ($($type:ty),+) => {$(
        impl ValueType for $type {
            type Bounds = RangeInclusive<Self>;

            fn read(raw: &RawSetting, bounds: &RangeInclusive<Self>) -> Result<Self, Problem> {
                let number = match raw {
                    RawSetting::Whole(number) => Some(*number),
                    // 1_000 is how numbers are written in the file.
                    RawSetting::Plain(text) => text.replace('_', "").parse().ok(),
                    _ => None,
                };
                let remedy = format!("give a {}", Self::shape(bounds));
                let Some(number) = number else {
                    return Err(refuse(raw, "is no whole number", remedy));
                };
                Self::try_from(number)
                    .ok()
                    .filter(|number| bounds.contains(number))
                    .ok_or_else(|| refuse(raw, "is out of bounds", remedy))
            }

            fn toml(&self) -> Option<String> {
                Some(self.to_string())
            }

            fn shape(bounds: &RangeInclusive<Self>) -> String {
                format!("whole number from {} to {}", bounds.start(), bounds.end())
            }
        }
    )+};
}

whole_number!(u32, u64, usize);

impl ValueType for f64 {
    type Bounds = RangeInclusive<Self>;

    fn read(raw: &RawSetting, bounds: &RangeInclusive<Self>) -> Result<Self, Problem> {
        let number = match raw {
            RawSetting::Decimal(number) => Some(*number),
            // There is no lossless way from an integer to a float but by way of its digits.
            RawSetting::Whole(number) => number.to_string().parse().ok(),
            RawSetting::Plain(text) => text.parse().ok(),
            _ => None,
        };
        let remedy = format!("give a {}", Self::shape(bounds));
        let Some(number) = number else {
            return Err(refuse(raw, "is no number", remedy));
        };
        // Contains no NaN and no infinity, as no comparison with them holds.
        if bounds.contains(&number) {
            Ok(number)
        } else {
            Err(refuse(raw, "is out of bounds", remedy))
        }
    }

    fn toml(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn shape(bounds: &RangeInclusive<Self>) -> String {
        format!("number from {} to {}", bounds.start(), bounds.end())
    }
}

impl ValueType for SocketAddr {
    type Bounds = ();

    fn read(raw: &RawSetting, (): &()) -> Result<Self, Problem> {
        raw.text().and_then(|text| text.parse().ok()).ok_or_else(|| {
            refuse(
                raw,
                "is no address with a port",
                "give one such as 127.0.0.1:50051, 0.0.0.0:50051 or [::]:50051 (a number, not a \
                 host's name)",
            )
        })
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }

    fn shape((): &()) -> String {
        "IP address and port".to_owned()
    }
}

impl ValueType for PathBuf {
    type Bounds = ();

    fn read(raw: &RawSetting, (): &()) -> Result<Self, Problem> {
        let remedy = "give a path";
        match raw.text() {
            None => Err(Problem::new("is no text", "give a path in quotes")),
            Some("") => Err(Problem::new("is empty", remedy)),
            Some(text) if text.contains('\0') => Err(Problem::new("contains a NUL", remedy)),
            Some(text) => Ok(Self::from(text)),
        }
    }

    fn toml(&self) -> Option<String> {
        // What was read from text is text.
        Some(quoted(&Path::to_string_lossy(self)))
    }

    fn shape((): &()) -> String {
        "path".to_owned()
    }
}

/// Text of a form that a function knows: see its users in `table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Text(pub(in crate::config) String);

/// A form of text.
pub(in crate::config) struct ValueForm {
    /// In words.
    pub(in crate::config) shape: &'static str,
    /// The text as it will be used, or what is wrong with it. Must not repeat the text.
    pub(in crate::config) parse: fn(&str) -> Result<String, Problem>,
}

impl ValueType for Text {
    type Bounds = ValueForm;

    fn read(raw: &RawSetting, form: &ValueForm) -> Result<Self, Problem> {
        match raw.text() {
            None => Err(Problem::new(
                "is no text",
                format!("give this in quotes: {}", form.shape),
            )),
            Some("") => Err(Problem::new(
                "is empty",
                "give a value or leave the setting away",
            )),
            Some(text) => (form.parse)(text).map(Self),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }

    fn shape(form: &ValueForm) -> String {
        form.shape.to_owned()
    }
}

/// A type with a fixed set of values that have names.
pub(in crate::config) trait Choice: Copy + PartialEq + 'static {
    /// All of them.
    const CHOICES: &'static [(&'static str, Self)];
}

impl<T: Choice> ValueType for T {
    type Bounds = ();

    fn read(raw: &RawSetting, (): &()) -> Result<Self, Problem> {
        let given = raw.text();
        T::CHOICES
            .iter()
            .find(|(name, _)| Some(*name) == given)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let names = T::CHOICES.iter().map(|(name, _)| *name);
                let remedy = did_you_mean(given.unwrap_or_default(), names);
                refuse(raw, "is not one of the choices", remedy)
            })
    }

    fn toml(&self) -> Option<String> {
        let (name, _) = T::CHOICES.iter().find(|(_, choice)| choice == self)?;
        Some(quoted(name))
    }

    fn shape((): &()) -> String {
        let names: Vec<_> = T::CHOICES
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        names.join(", ")
    }
}

fn refuse(raw: &RawSetting, problem: &str, remedy: impl Into<String>) -> Problem {
    Problem::new(format!("{}{problem}", raw.shown()), remedy)
}
