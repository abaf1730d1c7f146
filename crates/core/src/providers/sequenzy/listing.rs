//! Finds out who cancelled the enrollments of some subscribers, after a reply was lost and no other
//! counts any: by the times of change of their cancelled enrollments.

use crate::{
    domain::{
        command::EnrollmentsTarget,
        http_exchange::{Class, Exchange, HttpMethod, Request, Safety},
        ids::TargetId,
    },
    providers::{
        Step,
        item_state::{answered, settle},
        reply::{
            answer_subject::{CancelCause, is_others},
            json::{self, JsonReader},
        },
    },
};

use super::{LIST, drain::Drain};

/// Enrollments per page, the most that Sequenzy sends.
const PAGE_ROWS_MAX: usize = 500;
/// Pages that are read at most.
const PAGES_MAX: usize = 8;
/// Characters of ids in one request: servers accept some 8,000 in the request line.
const IDS_CHARS_MAX: usize = 4_000;

/// The result of the pages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// A listed enrollment may be our doing, or there are too many pages.
    Ours,
    /// All are older than our requests, or there are none, in believed pages.
    Others,
    /// Read this page next: of this group of subscribers, from this offset.
    Next { group: usize, offset: usize },
}

impl<'a> Drain<'a> {
    /// Whether the target names subscribers that can be listed.
    pub(super) fn can_list(&self) -> bool {
        (1..=PAGES_MAX).contains(&self.groups().len())
    }

    /// The first page. Waits for the settling time of the lost call, because an absent enrollment
    /// proves nothing before.
    pub(super) fn list(&self) -> Step {
        settle(self.page(0, 0))
    }

    pub(super) fn after_list(&self, last: &'a Exchange) -> Step {
        // Reached only after one of the two calls.
        let Some(call) = self.calls.last() else {
            return self.at.unable(last);
        };
        match last.class {
            Class::Accepted => match self.read() {
                Read::Ours => self.ended_by_us(call.response),
                Read::Others => self.ended_by_others(call),
                Read::Next {
                    group: 0,
                    offset: 0,
                } => self.list(),
                Read::Next { group, offset } => Step::Send(self.page(group, offset)),
            },
            // It cannot be learned, now or later: older versions may not have the list, and its
            // page is not among those we hold. It is known that nothing remains, and without a
            // proof that others did it, it counts as ours.
            Class::Refused | Class::Undocumented => self.ended_by_us(call.response),
            Class::Unreadable | Class::Busy => {
                let (group, offset) = match self.read() {
                    Read::Next { group, offset } => (group, offset),
                    Read::Ours | Read::Others => (0, 0),
                };
                let again = self.at.look_again(self.page(group, offset), last);
                again.unwrap_or_else(|| self.doubtful().unable(last))
            }
            // This can be learned another time.
            Class::Lost
            | Class::Unsent
            | Class::Throttled
            | Class::Foreign
            | Class::Unauthenticated
            | Class::Forbidden => self.doubtful().unable(last),
        }
    }

    /// Reads the pages since the last call. A page that is not believed only counts if it has an
    /// enrollment of ours; otherwise all pages are read again.
    fn read(&self) -> Read {
        let groups = self.groups().len();
        let (mut group, mut offset, mut pages) = (0, 0, 0);
        for exchange in self.listed().filter(|page| page.class == Class::Accepted) {
            let body = answered(&exchange.reply).and_then(|response| response.json.as_ref());
            let body = JsonReader(body);
            let rows: Vec<_> = body.at("enrollments").list().collect();
            if rows.iter().any(|row| self.is_ours(exchange, *row)) {
                return Read::Ours;
            }
            if !exchange.seen.believed {
                (group, offset, pages) = (0, 0, 0);
                continue;
            }
            pages += 1;
            let has_more = body.at("pagination").at("hasMore").flag() == Some(true);
            (group, offset) = match has_more && !rows.is_empty() {
                true => (group, offset + rows.len()),
                false => (group + 1, 0),
            };
            if group == groups {
                return Read::Others;
            }
            // Too many to read: without a proof it counts as ours.
            if pages >= PAGES_MAX {
                return Read::Ours;
            }
        }
        Read::Next { group, offset }
    }

    /// Whether a listed enrollment is the target's and was cancelled when a call of ours could have
    /// done it.
    fn is_ours(&self, exchange: &Exchange, row: JsonReader<'_>) -> bool {
        let status = row.at("status").word();
        let is_canceled = status.is_none_or(|word| word == json::plain("cancelled"));
        let subscriber = row.at("subscriberId").id();
        let is_named = subscriber.is_none_or(|id| self.ids().any(|named| named.as_str() == id));
        let changed = CancelCause::Asked(row.at("lastUpdatedAt").time());
        is_canceled && is_named && !is_others(exchange, changed)
    }

    /// The pages since the last call.
    fn listed(&self) -> impl Iterator<Item = &'a Exchange> {
        let is_page = |exchange: &&Exchange| exchange.operation == Some(LIST);
        let pages = self.at.history.iter().rev().take_while(is_page).count();
        let calls = self.at.history.len().saturating_sub(pages);
        self.at.history.iter().skip(calls)
    }

    fn ids(&self) -> impl Iterator<Item = &'a TargetId> {
        let ids = match &self.command.target {
            EnrollmentsTarget::Subscriber(id) => std::slice::from_ref(id),
            EnrollmentsTarget::Subscribers(ids) => ids.as_slice(),
            EnrollmentsTarget::Field { .. } | EnrollmentsTarget::All => &[],
        };
        ids.iter()
    }

    /// The subscribers in groups that fit a request. Empty if an id has the separator in it.
    fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for id in self.ids().map(TargetId::as_str) {
            if id.contains(',') {
                return Vec::new();
            }
            match groups.last_mut() {
                Some(group) if group.len() + id.len() < IDS_CHARS_MAX => {
                    group.push(',');
                    group.push_str(id);
                }
                _ => groups.push(id.to_owned()),
            }
        }
        groups
    }

    fn page(&self, group: usize, offset: usize) -> Request {
        let mut request = self.request(LIST, Safety::Look, HttpMethod::Get, "enrollments");
        let ids = self.groups().into_iter().nth(group).unwrap_or_default();
        request.query = vec![
            ("status", "cancelled".to_owned()),
            ("subscriberId", ids),
            ("limit", PAGE_ROWS_MAX.to_string()),
        ];
        if offset > 0 {
            request.query.push(("offset", offset.to_string()));
        }
        request
    }
}
