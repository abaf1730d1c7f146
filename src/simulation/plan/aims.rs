//! The keys that name each target of a plan.

use std::collections::BTreeSet;

use super::Plan;
use crate::{domain::command::Command, providers::Mode, simulation::model::Recorded};

impl Plan {
    /// The target of a command.
    pub(in crate::simulation) fn target_of(&self, command: &Command) -> usize {
        let mut items = self.requests.iter().flat_map(|asked| &asked.items);
        items.find(|item| *item.command == *command).unwrap().target
    }

    /// The tag in the requests of an item.
    pub(in crate::simulation) fn tag_of(&self, item: &Recorded) -> String {
        let asked = self
            .requests
            .iter()
            .filter(|asked| asked.scope == item.scope);
        let mut same = asked
            .flat_map(|asked| asked.recorded())
            .filter(|(key, asked)| {
                *key == item.key && asked.command == item.command && asked.mode == Mode::Cancel
            });
        same.next().unwrap().1.tag.clone()
    }

    /// The keys that name a target, and whether dry runs do too.
    pub(in crate::simulation) fn aimed_at(&self, target: usize) -> (usize, bool) {
        let mut keys = BTreeSet::new();
        let mut dry = false;
        for asked in &self.requests {
            for (place, item) in asked.items.iter().enumerate() {
                if item.target != target {
                    continue;
                }
                match item.mode {
                    Mode::Cancel => {
                        keys.insert((asked.scope.clone(), asked.key_at(place)));
                    }
                    Mode::DryRun => dry = true,
                }
            }
        }
        (keys.len(), dry)
    }
}
