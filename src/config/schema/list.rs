//! Settings with several values: an array in the file, or text with commas in the environment and
//! on the command line. A single value is a list of one.

use super::setting::{RawSetting, ValueType};
use crate::config::error::Problem;

impl<T: ValueType> ValueType for Vec<T> {
    type Bounds = T::Bounds;

    fn read(raw: &RawSetting, bounds: &T::Bounds) -> Result<Self, Problem> {
        let items = match raw {
            RawSetting::List(items) => items.clone(),
            RawSetting::Plain(text) => {
                let parts = text.split(',');
                parts
                    .map(|part| RawSetting::Plain(part.trim().to_owned()))
                    .collect()
            }
            single => vec![single.clone()],
        };
        if items.is_empty() {
            let remedy = format!(
                "give at least one, or leave the setting away: {}",
                T::shape(bounds)
            );
            return Err(Problem::new("is an empty list", remedy));
        }
        let is_one = items.len() == 1;
        let read = |(place, item): (usize, &RawSetting)| {
            T::read(item, bounds).map_err(|problem| {
                let place = if is_one {
                    String::new()
                } else {
                    format!("[{}] ", place + 1)
                };
                Problem::new(format!("{place}{}", problem.problem), problem.remedy)
            })
        };
        items.iter().enumerate().map(read).collect()
    }

    fn toml(&self) -> Option<String> {
        let items: Vec<_> = self.iter().filter_map(ValueType::toml).collect();
        (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
    }

    fn shape(bounds: &T::Bounds) -> String {
        format!("list of: {}", T::shape(bounds))
    }
}
