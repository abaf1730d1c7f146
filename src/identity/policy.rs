//! What one caller may do. Pure questions; where they are asked is the edge's matter.

use std::{collections::BTreeSet, time::Duration};

use crate::{domain::access::pattern::AccountPattern, limits};

/// An RPC, by its published name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// CancelSubscription.
    CancelSubscription,
    /// CancelEnrollments.
    CancelEnrollments,
    /// GetCancellation.
    GetCancellation,
    /// ListCancellations.
    ListCancellations,
    /// StopBatch.
    StopBatch,
    /// ListAccounts.
    ListAccounts,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CancelSubscription,
        Self::CancelEnrollments,
        Self::GetCancellation,
        Self::ListCancellations,
        Self::StopBatch,
        Self::ListAccounts,
    ];

    /// Its published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CancelSubscription => "CancelSubscription",
            Self::CancelEnrollments => "CancelEnrollments",
            Self::GetCancellation => "GetCancellation",
            Self::ListCancellations => "ListCancellations",
            Self::StopBatch => "StopBatch",
            Self::ListAccounts => "ListAccounts",
        }
    }

    /// Whether it changes something. The others are questions.
    #[must_use]
    pub fn acts(self) -> bool {
        match self {
            Self::CancelSubscription | Self::CancelEnrollments | Self::StopBatch => true,
            Self::GetCancellation | Self::ListCancellations | Self::ListAccounts => false,
        }
    }

    /// The RPC at the end of an HTTP path; `None` for one that there is not.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// What one caller may do. The default is everything, but for the records of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The RPCs it may call.
    pub methods: BTreeSet<Method>,
    /// The accounts it may name; any pattern of them suffices.
    pub accounts: Vec<AccountPattern>,
    /// Items in one request of its.
    pub batch_items_max: usize,
    /// People whom its items may concern in any hour; `None` for as many as it likes.
    pub hourly_items_max: Option<u64>,
    /// The largest `max_matches` that it may ask for, and the one that it gets if it asks for none;
    /// `None` for no bound.
    pub matches_max: Option<u32>,
    /// Items of its that may be open at once; `None` for its fair share of the service's.
    pub open_items_max: Option<usize>,
    /// Calls of ListCancellations that it may have at a time.
    pub scans_max: usize,
    /// The longest `retry_window` that it may ask for; `None` for the longest there is.
    pub retry_window_max: Option<Duration>,
    /// Whether enrollment targets that match many are allowed.
    pub many_matching: bool,
    /// Whether it may read the records of all callers, of its accounts.
    pub auditor: bool,
    /// Whether it may read what providers answered of them too.
    pub auditor_answers: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            methods: Method::ALL.into(),
            accounts: vec![AccountPattern::all()],
            batch_items_max: limits::BATCH_ITEMS_MAX,
            hourly_items_max: None,
            matches_max: None,
            open_items_max: None,
            scans_max: limits::CALLER_SCANS_DEFAULT,
            retry_window_max: None,
            many_matching: true,
            auditor: false,
            auditor_answers: false,
        }
    }
}

impl Policy {
    /// Whether it may call this RPC.
    #[must_use]
    pub fn allows_method(&self, method: Method) -> bool {
        self.methods.contains(&method)
    }

    /// Whether it may name this account.
    #[must_use]
    pub fn allows_account(&self, name: &str) -> bool {
        self.accounts.iter().any(|pattern| pattern.fits(name))
    }

    /// Whether it may name any account.
    #[must_use]
    pub fn allows_all_accounts(&self) -> bool {
        self.accounts.iter().any(AccountPattern::is_all)
    }

    /// The RPCs it may call, in words.
    #[must_use]
    pub fn methods_told(&self) -> String {
        let names: Vec<_> = self.methods.iter().map(|method| method.name()).collect();
        names.join(", ")
    }

    /// The accounts it may name, in words.
    #[must_use]
    pub fn accounts_told(&self) -> String {
        let patterns: Vec<_> = self.accounts.iter().map(ToString::to_string).collect();
        patterns.join(", ")
    }
}
