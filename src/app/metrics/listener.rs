//! The metrics of what lets callers in, and of what is read anew: certificates that end, keys that
//! have to stay fresh, and files that cannot be used.

use std::fmt;

use super::encoder::Encoder;
use crate::{
    app::{
        file_watch::ReloadFailures,
        server::{listeners::ReloadHandles, tls::Tls},
    },
    rpc::{RejectionLog, SideRooms},
};

pub(super) fn encode(page: &mut Encoder<'_>, entrance: &ReloadHandles) -> fmt::Result {
    let validities = entrance.tls.as_ref().map(Tls::validities);
    let validities = validities.unwrap_or_default();
    let validities: Vec<_> = validities
        .iter()
        .map(|(certificate, validity)| ([("certificate", &**certificate)], validity))
        .collect();
    page.gauge(
        "cancelot_tls_certificate_not_before_timestamp_seconds",
        "Since when a certificate that is in use is good, in seconds since 1970.",
        validities
            .iter()
            .map(|(which, validity)| (*which, validity.not_before)),
    )?;
    page.gauge(
        "cancelot_tls_certificate_not_after_timestamp_seconds",
        "Until when a certificate that is in use is good, in seconds since 1970: server for the listener's, client_ca for the authorities of clients, authorities.NAME for those with names; of several in a file, the one that ends first.",
        validities
            .iter()
            .map(|(which, validity)| (*which, validity.not_after)),
    )?;
    let all = entrance.fetchers.all();
    let fetchers = || all.iter();
    page.gauge(
        "cancelot_issuer_keys_last_success_timestamp_seconds",
        "When the keys of an issuer with a jwks_url were fetched last, in seconds since 1970; 0 for never.",
        fetchers().map(|of| ([("issuer", of.issuer.name())], of.freshness.fetched_at())),
    )?;
    page.gauge(
        "cancelot_issuer_keys_failing",
        "Whether the last try to fetch the keys of an issuer failed.",
        fetchers().map(|of| {
            let is_failing = u64::from(of.freshness.is_failing());
            ([("issuer", of.issuer.name())], is_failing)
        }),
    )
}

/// What calls beside the service hold: health, reflection, and all that strangers can.
pub(super) fn rooms(page: &mut Encoder<'_>, rooms: &SideRooms) -> fmt::Result {
    let standing = rooms.standing();
    let number = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
    page.gauge(
        "cancelot_side_calls_bytes",
        "Bytes that open calls beside the service count as: strangers for all of those who have not shown a caller, health and reflection for those of callers.",
        standing.iter().map(|room| ([("room", room.name)], number(room.bytes))),
    )?;
    page.gauge(
        "cancelot_side_calls_bytes_limit",
        "Bytes that they may count as.",
        standing
            .iter()
            .map(|room| ([("room", room.name)], number(room.bytes_max))),
    )?;
    page.counter(
        "cancelot_side_calls_refused",
        "Calls beside the service that found no room, or whose connection had enough of them.",
        standing
            .iter()
            .map(|room| ([("room", room.name)], room.refused)),
    )?;
    page.counter(
        "cancelot_side_calls_connections_ended",
        "Connections of strangers that were ended since they held the most when there was no room.",
        [([], rooms.ended())],
    )
}

/// Files that are looked at again and again, whoever they let in.
pub(super) fn files(page: &mut Encoder<'_>, failing: Option<&ReloadFailures>) -> fmt::Result {
    let all = failing.map(ReloadFailures::all).unwrap_or_default();
    page.gauge(
        "cancelot_reload_failing",
        "Whether files that a setting names cannot be used as they are now, so that what they held before stays in use; configuration for the configuration file.",
        all.iter()
            .map(|(setting, is_failing)| ([("setting", &**setting)], u64::from(*is_failing))),
    )?;
    page.gauge(
        "cancelot_restart_needed_settings",
        "Settings that are other ones in the configuration file than in use, and take a restart.",
        failing.map(|failing| ([], failing.restart_needed())),
    )
}

/// Calls and connections of nobody who is known: what they are not told, the operator is.
pub(super) fn strangers(page: &mut Encoder<'_>, refusals: &RejectionLog) -> fmt::Result {
    page.counter(
        "cancelot_strangers_refused",
        "Calls and connections that were refused since nobody knows whose they are, by the reason, which they are not told.",
        refusals
            .of_strangers()
            .into_iter()
            .map(|(reason, count)| ([("reason", reason)], count)),
    )
}
