//! Line items: a JSON array of objects; in CSV as the text of a cell.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    cell::{self, Cell, Fields, choice, parsed, text, text_up_to},
    naming,
};
use crate::{
    cli::terminal::times,
    domain::{
        command::{Direction, LineItem},
        money::Amount,
    },
    limits,
};

const COLUMN: &str = "line_items";

const MEMBERS: &[&str] = &[
    "type",
    "description",
    "unit_price_amount",
    "unit_price_currency",
    "quantity",
    "period_start_time",
    "period_end_time",
];

pub(super) const DIRECTIONS: [(&str, Direction); 2] =
    [("debit", Direction::Debit), ("credit", Direction::Credit)];

/// Reads the row's line items; mistakes are noted by item and member.
pub(super) fn read(fields: &mut Fields) -> Vec<LineItem> {
    let items = fields.optional(COLUMN, array).unwrap_or_default();
    let mut read = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        match members(fields.line(), item) {
            Ok(mut of_item) => {
                read.extend(line_item(&mut of_item));
                for mistake in of_item.into_mistakes() {
                    fields.refuse(format!("{COLUMN}[{i}].{}", mistake.column), mistake.problem);
                }
            }
            Err(problems) => {
                for (member, problem) in problems {
                    let dot = if member.is_empty() { "" } else { "." };
                    fields.refuse(format!("{COLUMN}[{i}]{dot}{member}"), problem);
                }
            }
        }
    }
    read
}

fn array(cell: Cell) -> Result<Vec<Value>, String> {
    let value = match cell {
        Cell::Text(text) => {
            serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?
        }
        Cell::Json(value) => value,
    };
    match value {
        Value::Array(items) if items.len() <= limits::LINE_ITEMS_MAX => Ok(items),
        Value::Array(items) => Err(format!(
            "has {} items; at most {}",
            items.len(),
            limits::LINE_ITEMS_MAX
        )),
        value => Err(format!(
            "is {}; write an array such as [{{\"type\":\"credit\",\"unit_price_amount\":\"5.00\",\
             \"unit_price_currency\":\"EUR\",\"quantity\":1}}]",
            cell::kind(&value)
        )),
    }
}

/// The members of an item as fields, or the mistakes by member.
fn members(line: u64, item: Value) -> Result<Fields, Vec<(String, String)>> {
    let Value::Object(item) = item else {
        let problem = format!("is {}; write an object", cell::kind(&item));
        return Err(vec![(String::new(), problem)]);
    };
    let mut problems = Vec::new();
    let mut cells = std::collections::BTreeMap::new();
    for (name, value) in item {
        match naming::column(&name, MEMBERS) {
            Ok(_) if value.is_null() => {}
            Ok(member) => drop(cells.insert(member, Cell::Json(value))),
            Err(problem) => problems.push((name, problem.replace("column", "member"))),
        }
    }
    if problems.is_empty() {
        Ok(Fields::new(line, cells, std::collections::BTreeMap::new()))
    } else {
        Err(problems)
    }
}

fn line_item(fields: &mut Fields) -> Option<LineItem> {
    let direction = fields.required("type", |cell| choice(cell, &DIRECTIONS));
    let description = fields.optional("description", text_up_to(limits::TEXT_CHARS_MAX));
    let unit_price = fields.required("unit_price_amount", amount);
    let currency = fields.required("unit_price_currency", parsed);
    let quantity = fields.required("quantity", quantity);
    let period_start = fields.optional("period_start_time", time);
    let period_end = fields.optional("period_end_time", time);
    if let (Some(start), Some(end)) = (period_start, period_end)
        && end < start
    {
        fields.refuse("period_end_time", "is before period_start_time");
    }
    Some(LineItem {
        direction: direction?,
        description,
        unit_price: unit_price?,
        currency: currency?,
        quantity: quantity?,
        period_start,
        period_end,
    })
}

/// A price as text or number, with its digits as written.
fn amount(cell: Cell) -> Result<Amount, String> {
    let text = match cell {
        Cell::Json(Value::Number(number)) => number.to_string(),
        cell => text(cell)?,
    };
    Amount::try_from(text).map_err(|malformed| malformed.to_string())
}

fn quantity(cell: Cell) -> Result<i32, String> {
    let text = text(cell)?;
    text.parse()
        .ok()
        .filter(|quantity| (1..=limits::QUANTITY_MAX).contains(quantity))
        .ok_or_else(|| {
            let most = limits::QUANTITY_MAX;
            format!("{text:?} is no quantity; write a whole number from 1 to {most}")
        })
}

fn time(cell: Cell) -> Result<Timestamp, String> {
    let text = text(cell)?;
    times::point(&text).ok_or_else(|| {
        format!(
            "{text:?} is no time; write a day such as 2027-01-31 (from its beginning in UTC), or a \
             time with its offset such as 2027-01-31T00:00:00Z"
        )
    })
}
