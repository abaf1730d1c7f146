//! The body of a Rebilly cancellation, validated as its page describes. Every violation is reported
//! with the field's dotted name.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

const CANCELED_BY: [&str; 3] = ["merchant", "customer", "rebilly"];
const REASONS: [&str; 10] = [
    "did-not-use",
    "did-not-want",
    "missing-features",
    "bugs-or-problems",
    "do-not-remember",
    "risk-warning",
    "contract-expired",
    "too-expensive",
    "other",
    "billing-failure",
];
/// `completed` is in the documented enum too, but only the server sets it.
const STATUSES: [&str; 3] = ["draft", "confirmed", "revoked"];
const SUBSCRIPTION_ID_CHARS_MAX: usize = 50;
const DESCRIPTION_CHARS_MAX: usize = 255;
const ITEM_DESCRIPTION_CHARS_MAX: usize = 1_000;

/// One entry of `invalidFields`.
#[derive(Debug, Serialize)]
pub(super) struct InvalidField {
    field: String,
    message: String,
}

impl InvalidField {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// When a cancelled subscription is deactivated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Churn {
    /// `churnTimePolicy: now`, or not given.
    Now { policy: bool },
    /// `churnTimePolicy: at-next-renewal`.
    NextRenewal,
    /// `churnTime`.
    At(Timestamp),
}

/// A valid request body.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) subscription_id: String,
    pub(super) canceled_by: &'static str,
    pub(super) reason: &'static str,
    pub(super) description: Option<Box<str>>,
    pub(super) prorated: bool,
    pub(super) status: &'static str,
    pub(super) churn: Churn,
    pub(super) line_items: Vec<Value>,
}

/// Parses a body.
///
/// # Errors
///
/// Every field that violates the page's rules.
pub(super) fn parse(body: &[u8]) -> Result<Input, Vec<InvalidField>> {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else {
        return Err(vec![InvalidField::new(
            "",
            "The body must be a JSON object",
        )]);
    };
    let mut check = Check {
        prefix: String::new(),
        invalid: Vec::new(),
    };
    let id = check.text(&body, "subscriptionId", SUBSCRIPTION_ID_CHARS_MAX);
    if id.is_none_or(str::is_empty) {
        check.fail("subscriptionId", "subscriptionId is required");
    }
    let subscription_id = id.unwrap_or_default().to_owned();
    let canceled_by = check
        .one_of(&body, "canceledBy", &CANCELED_BY)
        .unwrap_or("customer");
    let reason = check.one_of(&body, "reason", &REASONS).unwrap_or("other");
    let description = check
        .text(&body, "description", DESCRIPTION_CHARS_MAX)
        .map(Into::into);
    let status = check
        .one_of(&body, "status", &STATUSES)
        .unwrap_or("confirmed");
    let prorated = match body.get("prorated") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(prorated)) => *prorated,
        Some(_) => {
            check.fail("prorated", "prorated must be a boolean");
            false
        }
    };
    let churn = check.churn(&body);
    let line_items = check.line_items(body.remove("lineItems"));
    if check.invalid.is_empty() {
        Ok(Input {
            subscription_id,
            canceled_by,
            reason,
            description,
            prorated,
            status,
            churn,
            line_items,
        })
    } else {
        Err(check.invalid)
    }
}

/// Collects violations below a prefix.
struct Check {
    prefix: String,
    invalid: Vec<InvalidField>,
}

impl Check {
    fn fail(&mut self, field: &str, message: impl Into<String>) {
        self.invalid.push(InvalidField::new(
            format!("{}{field}", self.prefix),
            message,
        ));
    }

    fn text<'a>(&mut self, of: &'a Map<String, Value>, field: &str, max: usize) -> Option<&'a str> {
        match of.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.chars().count() <= max => Some(text),
            Some(Value::String(_)) => {
                self.fail(
                    field,
                    format!("{field} is too long (maximum is {max} characters)"),
                );
                None
            }
            Some(_) => {
                self.fail(field, format!("{field} must be a string"));
                None
            }
        }
    }

    fn one_of(
        &mut self,
        of: &Map<String, Value>,
        field: &str,
        allowed: &[&'static str],
    ) -> Option<&'static str> {
        let text = self.text(of, field, usize::MAX)?;
        let found = allowed.iter().copied().find(|value| *value == text);
        if found.is_none() {
            self.fail(
                field,
                format!("{field} must be one of: {}", allowed.join(", ")),
            );
        }
        found
    }

    fn time(&mut self, of: &Map<String, Value>, field: &str) -> Option<Timestamp> {
        let text = self.text(of, field, usize::MAX)?;
        let time = text.parse().ok();
        if time.is_none() {
            self.fail(field, format!("{field} must be an RFC 3339 date and time"));
        }
        time
    }

    /// The policy takes precedence over the time. The page lists `"null"` as a policy and allows
    /// null; both mean no policy.
    fn churn(&mut self, body: &Map<String, Value>) -> Churn {
        let at = self.time(body, "churnTime");
        match self.one_of(body, "churnTimePolicy", &["null", "now", "at-next-renewal"]) {
            Some("now") => Churn::Now { policy: true },
            Some("at-next-renewal") => Churn::NextRenewal,
            _ => at.map_or(Churn::Now { policy: false }, Churn::At),
        }
    }

    fn line_items(&mut self, items: Option<Value>) -> Vec<Value> {
        let items = match items {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.fail("lineItems", "lineItems must be an array");
                return Vec::new();
            }
        };
        for (index, item) in items.iter().enumerate() {
            self.prefix = format!("lineItems.{index}.");
            match item {
                Value::Object(item) => self.line_item(item),
                _ => self.fail("type", "a line item must be an object"),
            }
        }
        self.prefix.clear();
        items
    }

    fn line_item(&mut self, item: &Map<String, Value>) {
        for field in ["type", "unitPriceAmount", "unitPriceCurrency", "quantity"] {
            if item.get(field).is_none_or(Value::is_null) {
                self.fail(field, format!("{field} is required"));
            }
        }
        self.one_of(item, "type", &["debit", "credit"]);
        self.text(item, "description", ITEM_DESCRIPTION_CHARS_MAX);
        if item
            .get("unitPriceAmount")
            .is_some_and(|amount| !amount.is_number() && !amount.is_null())
        {
            self.fail("unitPriceAmount", "unitPriceAmount must be a number");
        }
        let quantity = item.get("quantity").filter(|quantity| !quantity.is_null());
        if quantity.is_some_and(|quantity| !quantity.is_i64()) {
            self.fail("quantity", "quantity must be an integer");
        }
        let currency = self.text(item, "unitPriceCurrency", usize::MAX);
        let iso = |code: &str| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
        if currency.is_some_and(|code| !iso(code)) {
            self.fail(
                "unitPriceCurrency",
                "unitPriceCurrency must be an ISO 4217 code",
            );
        }
        self.time(item, "periodStartTime");
        self.time(item, "periodEndTime");
    }
}
