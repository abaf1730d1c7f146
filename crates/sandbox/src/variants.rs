//! What the providers' pages leave open, as choices: each enum is an open question, its first value
//! the likeliest reading.

use serde::{Deserialize, Serialize};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident {
        $(#[$first_doc:meta])* $first:ident
        $(, $(#[$more_doc:meta])* $more:ident)* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $(#[$first_doc])* #[default] $first,
            $($(#[$more_doc])* $more,)*
        }

        impl $name {
            /// Every reading, the likeliest first.
            pub const ALL: &'static [Self] = &[Self::$first, $(Self::$more,)*];
        }
    };
}

macro_rules! axes {
    ($(#[$doc:meta])* $name:ident, $provider:literal { $($field:ident: $choice:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[expect(missing_docs, reason = "each field is one axis, documented at its type")]
        pub struct $name {
            $(pub $field: $choice,)*
        }

        impl $name {
            /// Every reading that differs from the default in one question, each with a name
            /// such as `rebilly.already=Conflict`.
            #[must_use]
            pub fn all() -> Vec<(String, Self)> {
                let mut all = Vec::new();
                $(for reading in $choice::ALL.iter().skip(1) {
                    let name = concat!($provider, ".", stringify!($field));
                    let variants = Self { $field: *reading, ..Self::default() };
                    all.push((format!("{name}={reading:?}"), variants));
                })*
                all
            }
        }
    };
}

choice! {
    /// Rebilly: a new cancellation for a subscription that is cancelled already.
    RebillyAlready {
        /// 422 problem without a machine code.
        Unprocessable,
        /// 409 problem.
        Conflict,
        /// 201: a second cancellation is created, and counted as a second effect.
        AcceptsAnother,
    }
}
choice! {
    /// Rebilly: a cancellation of a subscription that does not exist.
    RebillyUnknown {
        /// 422 with `subscriptionId` among the invalid fields.
        Unprocessable,
        /// 404 problem.
        NotFound,
    }
}
choice! {
    /// Rebilly: PUT of a cancellation that is completed.
    RebillyPutCompleted {
        /// 200 with the cancellation as it is.
        Ok,
        /// 409 problem.
        Conflict,
        /// 422 problem.
        Unprocessable,
    }
}
choice! {
    /// Rebilly: the status in the reply to an immediate cancellation.
    RebillyImmediate {
        /// `completed` at once.
        Completed,
        /// `confirmed` with a churn time of now; later reads say `completed`.
        Confirmed,
    }
}
choice! {
    /// Rebilly: the header of a 429.
    RebillyThrottle {
        /// `X-RateLimit-Retry-After`, absolute Unix seconds (the API definition).
        EpochHeader,
        /// `Retry-After`, seconds (what the provider's own PHP client reads).
        RetryAfterSeconds,
        /// No header at all.
        Bare,
    }
}
choice! {
    /// Rebilly: the media type of errors.
    RebillyMedia {
        /// `application/json` (the API definition).
        Json,
        /// `application/problem+json` (RFC 9457, which the API definition cites).
        ProblemJson,
    }
}
choice! {
    /// Solidgate: `NOW` while a cancellation at period end is scheduled.
    SolidgateNowWhileScheduled {
        /// 200, cancelled at once.
        Accepted,
        /// 422 `SCHEDULED_FOR_CANCELLATION`.
        Refused,
    }
}
choice! {
    /// Solidgate: whether a 429 says when to try again.
    SolidgateNextTryAt {
        /// `context.next_try_at` is there.
        Present,
        /// No `context`.
        Absent,
    }
}
choice! {
    /// Solidgate: whether cancel honours `Idempotency-Key` ("support varies per endpoint").
    SolidgateIdempotency {
        /// Replays the first answer.
        Supported,
        /// Executes again and says `Idempotency-Status: ignored`.
        Ignored,
    }
}
choice! {
    /// FunnelFox: "a corresponding error" for a subscription that is cancelled already.
    FunnelFoxAlready {
        /// 400.
        BadRequest,
        /// 404.
        NotFound,
    }
}
choice! {
    /// FunnelFox: the state after a cancellation.
    FunnelFoxSuccess {
        /// `cancelled` and `renews: false`.
        Cancelled,
        /// The status stays and `renews` is false until the period ends.
        RenewsOff,
    }
}
choice! {
    /// Revolv3: cancel of a cancelled subscription.
    Revolv3Already {
        /// 400.
        BadRequest,
        /// 404 (ids not tied to an active subscription).
        NotFound,
        /// 200 again, counted as another effect: nothing promises that it is harmless.
        OkAgain,
    }
}
choice! {
    /// Revolv3: GET of a cancelled subscription.
    Revolv3GetCancelled {
        /// 200.
        Found,
        /// 404 (an older reference: only active subscriptions are found).
        NotFound,
    }
}
choice! {
    /// Revolv3: an immediate cancel while `PendingCancellation`.
    Revolv3WhilePending {
        /// 200 `Cancelled`.
        Accepted,
        /// Answered like a cancelled one.
        Refused,
    }
}
choice! {
    /// Revolv3: `cancelledAt` of a `PendingCancellation`.
    Revolv3PendingCancelledAt {
        /// When it was requested.
        Requested,
        /// When it will take effect.
        Effective,
        /// Not there.
        Absent,
    }
}
choice! {
    /// Revolv3: a cancel without `Content-Type`.
    Revolv3ContentType {
        /// 415 (the guide to required headers).
        Required,
        /// Accepted, as there is no body.
        Optional,
    }
}
choice! {
    /// Sequenzy: whether replies carry `remainingCount` and `target`.
    SequenzyRemaining {
        /// Both are there.
        Present,
        /// The older server of the cancel page: neither.
        Absent,
    }
}
choice! {
    /// Sequenzy: a `subscriberId` nobody knows.
    SequenzyUnknownSubscriber {
        /// 404 `Subscriber not found`.
        NotFound,
        /// 200 with nothing matched.
        NothingMatched,
    }
}
choice! {
    /// Sequenzy: the shape of errors.
    SequenzyErrors {
        /// `{"error": "text"}`.
        Plain,
        /// `{success, code, error, title, description, resolution, docsUrl}`.
        Rich,
    }
}
choice! {
    /// Sequenzy: which targets the server knows.
    SequenzyTargets {
        /// Also `subscriberIds` and `cancelAll`.
        Four,
        /// `subscriberId` and `fieldValues`, as on the cancel page; other fields are ignored.
        Two,
    }
}
choice! {
    /// Sequenzy: whether a 429 carries `Retry-After` in seconds.
    SequenzyRetryAfter {
        /// No header.
        Absent,
        /// The header is there.
        Present,
    }
}

axes! {
    /// How Rebilly reads its open questions.
    RebillyVariants, "rebilly" {
        already: RebillyAlready,
        unknown: RebillyUnknown,
        put_completed: RebillyPutCompleted,
        immediate: RebillyImmediate,
        throttle: RebillyThrottle,
        media: RebillyMedia,
    }
}
axes! {
    /// How Solidgate reads its open questions.
    SolidgateVariants, "solidgate" {
        now_while_scheduled: SolidgateNowWhileScheduled,
        next_try_at: SolidgateNextTryAt,
        idempotency: SolidgateIdempotency,
    }
}
axes! {
    /// How FunnelFox reads its open questions.
    FunnelFoxVariants, "funnelfox" {
        already: FunnelFoxAlready,
        success: FunnelFoxSuccess,
    }
}
axes! {
    /// How Revolv3 reads its open questions.
    Revolv3Variants, "revolv3" {
        already: Revolv3Already,
        get_cancelled: Revolv3GetCancelled,
        while_pending: Revolv3WhilePending,
        pending_cancelled_at: Revolv3PendingCancelledAt,
        content_type: Revolv3ContentType,
    }
}
axes! {
    /// How Sequenzy reads its open questions.
    SequenzyVariants, "sequenzy" {
        remaining: SequenzyRemaining,
        unknown_subscriber: SequenzyUnknownSubscriber,
        errors: SequenzyErrors,
        targets: SequenzyTargets,
        retry_after: SequenzyRetryAfter,
    }
}

/// One reading of every open question. The default is the likeliest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "one field for each provider")]
pub struct Variants {
    pub rebilly: RebillyVariants,
    pub solidgate: SolidgateVariants,
    pub funnelfox: FunnelFoxVariants,
    pub revolv3: Revolv3Variants,
    pub sequenzy: SequenzyVariants,
}

impl Variants {
    /// The default, then every reading that differs from it in one question, each with a name
    /// such as `rebilly.already=Conflict`.
    #[must_use]
    pub fn all() -> Vec<(String, Self)> {
        let default = Self::default();
        let mut all = vec![("default".to_owned(), default)];
        let rebilly = RebillyVariants::all().into_iter();
        all.extend(rebilly.map(|(name, rebilly)| (name, Self { rebilly, ..default })));
        let solidgate = SolidgateVariants::all().into_iter();
        all.extend(solidgate.map(|(name, solidgate)| {
            (
                name,
                Self {
                    solidgate,
                    ..default
                },
            )
        }));
        let funnelfox = FunnelFoxVariants::all().into_iter();
        all.extend(funnelfox.map(|(name, funnelfox)| {
            (
                name,
                Self {
                    funnelfox,
                    ..default
                },
            )
        }));
        let revolv3 = Revolv3Variants::all().into_iter();
        all.extend(revolv3.map(|(name, revolv3)| (name, Self { revolv3, ..default })));
        let sequenzy = SequenzyVariants::all().into_iter();
        all.extend(sequenzy.map(|(name, sequenzy)| {
            (
                name,
                Self {
                    sequenzy,
                    ..default
                },
            )
        }));
        all
    }
}
