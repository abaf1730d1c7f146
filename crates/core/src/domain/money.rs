//! Money as decimal text. No float ever holds an amount.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::Malformed;

const WHOLE_DIGITS_MAX: usize = 12;
const FRACTION_DIGITS_MAX: usize = 6;

/// A price in major units: a plain decimal number, not negative, at most 12 digits before the point
/// and 6 after it. Stored without superfluous zeros, so that equal prices compare equal.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(Box<str>);

impl Amount {
    /// The number as text, which is also a JSON number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Amount {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let malformed = || {
            Malformed::new(format!(
                "{text:?} is no price; a plain decimal number such as 49.95, not negative, at \
                 most {WHOLE_DIGITS_MAX} digits before the point and {FRACTION_DIGITS_MAX} after it"
            ))
        };
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(malformed()),
            None => (text.as_str(), ""),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !digits(whole)
            || !digits(fraction)
            || whole.len() > WHOLE_DIGITS_MAX
            || fraction.len() > FRACTION_DIGITS_MAX
        {
            return Err(malformed());
        }
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            trimmed => trimmed,
        };
        Ok(Self(match fraction.trim_end_matches('0') {
            "" => whole.into(),
            fraction => format!("{whole}.{fraction}").into(),
        }))
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.0.into()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A currency code of ISO 4217: three capital letters.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(Box<str>);

impl Currency {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Currency {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed::new(format!(
                "{text:?} is no ISO 4217 code such as EUR"
            )))
        }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0.into()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prices_are_equal_however_they_are_written() {
        for (written, kept) in [
            ("49.95", "49.95"),
            ("049.950", "49.95"),
            ("0.10", "0.1"),
            ("000", "0"),
            ("7.0", "7"),
        ] {
            assert_eq!(Amount::try_from(written.to_owned()).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn what_is_no_plain_price_is_refused() {
        for bad in [
            "",
            "-1",
            "+1",
            "1.",
            ".5",
            "1e3",
            "1,5",
            "1.2.3",
            "0x1",
            "1234567890123",
            "٣",
        ] {
            assert!(Amount::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        for bad in ["", "eur", "EURO", "E1R", "ÄÖ"] {
            assert!(Currency::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
