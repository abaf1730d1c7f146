//! Clearances in a batch's log: which items a process was allowed to send, and the doubt that is
//! left once that process is gone.

use super::{BatchHistory, Trace};
use crate::{
    domain::doubt::Doubt,
    journal::{
        format::record::Ranges,
        read::possible_sends::{self, Lives, Permission, PossibleSends},
    },
};

impl BatchHistory {
    /// Adds a clearance; returns its position.
    pub(super) fn give(&mut self, permission: Permission) -> Result<u32, String> {
        self.permissions.push(permission);
        // Position 0 is the admission's.
        let place = u32::try_from(self.permissions.len());
        place.map_err(|_| "it has too many steps".to_owned())
    }

    fn permission(&self, place: u32) -> Permission {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let given = place.checked_sub(1).and_then(|at| self.permissions.get(at));
        given.copied().unwrap_or(self.admission.permission)
    }

    /// Whether an item may have been sent, with the admission's clearance applied.
    fn sent(&self, index: u32, trace: &Trace) -> PossibleSends {
        match trace.sent {
            PossibleSends::AsAdmitted if self.admission.clears(index) => PossibleSends::since(0),
            PossibleSends::AsAdmitted => PossibleSends::Not,
            sent @ (PossibleSends::Not | PossibleSends::Since { .. }) => sent,
        }
    }

    /// The processes that were allowed to send any item of this batch.
    pub(in crate::journal) fn lives(&self) -> impl Iterator<Item = u64> {
        let given = self.permissions.iter().chain([&self.admission.permission]);
        given.map(|permission| permission.life)
    }

    /// The doubt about an open item. Its last outcome must have been decoded.
    pub(in crate::journal) fn doubt(&self, index: u32, lives: &Lives) -> Option<Doubt> {
        let trace = self.trace(index);
        let before = match (&trace.noted, &trace.settled) {
            (Some(noted), _) => Some(Doubt::clone(noted)),
            (None, Some(settled)) => settled.left_unknown(),
            (None, None) => None,
        };
        match self.sent(index, &trace) {
            PossibleSends::Since { first, last, .. } => {
                let (first, last) = (self.permission(first), self.permission(last));
                Some(possible_sends::doubt(first, last, lives, before))
            }
            PossibleSends::AsAdmitted | PossibleSends::Not => before,
        }
    }

    /// Records that open items were cleared.
    pub(super) fn clear(&mut self, permission: Permission, indexes: &Ranges) -> Result<(), String> {
        let given = self.give(permission)?;
        for index in indexes.indexes() {
            let before = self.sent(index, self.trace_ref(index)?);
            self.trace_mut(index)?.sent = match before {
                PossibleSends::Since { first, last, ended } => PossibleSends::Since {
                    first,
                    last: given,
                    ended: if self.permission(last).life < permission.life {
                        Some(last)
                    } else {
                        ended
                    },
                },
                PossibleSends::AsAdmitted | PossibleSends::Not => PossibleSends::since(given),
            };
        }
        Ok(())
    }

    /// Records that a process did not send open items. What another process may have sent stays in
    /// doubt.
    pub(super) fn withdraw(&mut self, life: u64, indexes: &Ranges) -> Result<(), String> {
        for index in indexes.indexes() {
            let before = self.sent(index, self.trace_ref(index)?);
            let PossibleSends::Since { first, last, ended } = before else {
                continue;
            };
            if self.permission(last).life != life {
                continue;
            }
            self.trace_mut(index)?.sent =
                ended.map_or(PossibleSends::Not, |last| PossibleSends::Since {
                    first,
                    last,
                    ended: None,
                });
        }
        Ok(())
    }
}
