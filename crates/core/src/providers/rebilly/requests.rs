//! The requests to Rebilly.

use crate::{
    domain::{
        account::ProviderSettings,
        http_exchange::{Body, HttpMethod, Operation, Pace, Path, Request, Safety},
    },
    providers::{Mode, Task},
};

use super::{CANCEL, DISCARD, DRAFT, LOOK, LOOK_OWN, adapter::RebillyApi, wire::body};

impl RebillyApi<'_> {
    fn path(&self, collection: &'static str) -> Path {
        match &self.at.task.account.settings {
            ProviderSettings::Rebilly {
                organization: Some(organization),
                ..
            } => Path::fixed("organizations")
                .segment(organization)
                .then(collection),
            _ => Path::fixed(collection),
        }
    }

    fn cancellation_path(&self) -> Path {
        self.path("subscription-cancellations")
            .segment(&cancellation_id(self.at.task))
    }

    fn request(operation: Operation, safety: Safety, method: HttpMethod, path: Path) -> Request {
        Request {
            operation,
            safety,
            pace: Pace::AtOnce,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Looks up our own cancellation.
    pub(super) fn get_own(&self) -> Request {
        let path = self.cancellation_path();
        Self::request(LOOK_OWN, Safety::Look, HttpMethod::Get, path)
    }

    /// Looks up the subscription.
    pub(super) fn get_subscription(&self) -> Request {
        let subscription = self.command.subscription_id.as_str();
        let path = self.path("subscriptions").segment(subscription);
        Self::request(LOOK, Safety::Look, HttpMethod::Get, path)
    }

    /// Cancels under our own id.
    pub(super) fn confirm(&self) -> Request {
        // `Once`, although a repeat is harmless: our own id is looked up before it is sent again,
        // so that a reply that was not lost counts, and a revoked cancellation stays revoked.
        self.put(CANCEL, Safety::Once, "confirmed")
    }

    /// Creates a draft. A repeat creates no second one.
    pub(super) fn draft(&self) -> Request {
        self.put(DRAFT, Safety::Repeatable, "draft")
    }

    /// Deletes the draft. The API deletes drafts only.
    pub(super) fn discard(&self) -> Request {
        let path = self.cancellation_path();
        Self::request(DISCARD, Safety::Repeatable, HttpMethod::Delete, path)
    }

    fn put(&self, operation: Operation, safety: Safety, status: &'static str) -> Request {
        Request {
            body: Some(Body {
                content_type: "application/json",
                text: body(self.command, status).to_string(),
            }),
            ..Self::request(operation, safety, HttpMethod::Put, self.cancellation_path())
        }
    }
}

/// Our id of the cancellation: at most 45 of the 50 characters that Rebilly allows.
pub(super) fn cancellation_id(task: &Task<'_>) -> String {
    let hex = task.effect_id.hex();
    match task.mode {
        Mode::Cancel => format!("cancelot-{hex}"),
        Mode::DryRun => format!("cancelot-dry-{hex}"),
    }
}
