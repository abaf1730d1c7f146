//! From a configuration to who may call, and to what of it changes while the service runs.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    Changing,
    keys::{Fetcher, Fetchers, Freshness, State},
    reload::Watch,
    tls::{Pem, Tls},
};
use crate::{
    audit::{Refused, Signer, Sink},
    config::{self, Config, KeysFrom, read_file, read_text},
    dispatch::{Clock, LaneOptions},
    domain::provenance::Provenance,
    egress::jwks::authorities,
    identity::{Callers, Issuer, Keys},
    limits,
    rpc::{Access, KeySource, Refusals},
};

/// The callers, and where keys that are not known may come from.
pub(super) fn access(config: &Config, audit: &Sink) -> (Access, Arc<Fetchers>) {
    let mut issuers = Vec::new();
    let mut fetchers = Vec::new();
    for issuer in &config.issuers {
        let made = Arc::new(Issuer::new(issuer.settings.clone()));
        match &issuer.keys {
            KeysFrom::File { keys, .. } => made.set_keys(keys.clone()),
            KeysFrom::Url {
                url,
                ca_file,
                token_file,
                refresh,
            } => fetchers.push(Fetcher {
                issuer: Arc::clone(&made),
                url: url.clone(),
                ca_file: ca_file.clone(),
                token_file: token_file.clone(),
                refresh: *refresh,
                state: Mutex::new(State::default()),
                freshness: Freshness::default(),
            }),
        }
        issuers.push(made);
    }
    let fetchers = Arc::new(Fetchers(fetchers));
    let callers: Vec<_> = config.callers.iter().map(|c| c.settings.clone()).collect();
    let keys: Arc<dyn KeySource> = Arc::<Fetchers>::clone(&fetchers);
    let access = Access {
        callers: Arc::new(Callers::new(&callers, issuers)),
        keys: Some(keys),
        refusals: told_to(audit.clone()),
        audit: audit.clone(),
    };
    (access, fetchers)
}

/// Refusals for the audit too.
fn told_to(audit: Sink) -> Refusals {
    Refusals::new(move |refusal| {
        audit.refused(refusal.why, refusal.code, &refusal.source(), |refused| {
            Refused {
                caller: refusal.caller.cloned(),
                from: Provenance {
                    peer: refusal.peer,
                    proofs: refusal.proofs.to_vec(),
                    request_id: refusal.request_id.map(ToString::to_string),
                },
                method: Some(refusal.method),
                key: refusal.asked.and_then(|asked| asked.key.clone()),
                items: refusal.asked.and_then(|asked| asked.items),
                batch: refusal.asked.and_then(|asked| asked.batch),
                ..refused
            }
        });
    })
}

/// Whether a configuration that reads well can be carried out, as far as files tell; with what
/// can be, and will not do what it is for.
///
/// # Errors
/// What is wrong with the listener's certificates.
pub fn check(config: &Config) -> Result<Vec<String>, String> {
    let listener = config.server.tls.as_ref();
    let listener = listener.map(|settings| tls(settings, Clock::system()));
    let listener = listener.transpose()?;
    signer(config).map_err(|why| format!("audit.sign_key_file: {why}"))?;
    let mut warnings: Vec<_> = listener
        .as_ref()
        .and_then(Tls::warning)
        .into_iter()
        .collect();
    for issuer in &config.issuers {
        if let KeysFrom::Url {
            ca_file: Some(file),
            ..
        } = &issuer.keys
            && let Err(why) = read_file(file, pem_bytes_max()).and_then(|pem| authorities(&pem))
        {
            warnings.push(format!(
                "issuers.{}.jwks_ca_file: {why}, so that no keys can be fetched",
                issuer.settings.name
            ));
        }
    }
    Ok(warnings)
}

/// What signs the audit's head, if anything does.
pub(super) fn signer(config: &Config) -> Result<Option<Arc<Signer>>, String> {
    let file = config
        .audit
        .as_ref()
        .and_then(|audit| audit.sign_key_file.as_ref());
    let signer = file.map(|file| {
        let pem = read_text(file, pem_bytes_max())?;
        Signer::from_pem(&pem).map(Arc::new)
    });
    signer.transpose()
}

/// The listener's TLS from its files.
pub(super) fn tls(settings: &config::Tls, clock: Clock) -> Result<Tls, String> {
    let contents: Result<Vec<_>, _> = tls_files(settings)
        .iter()
        .map(|file| read_file(file, pem_bytes_max()))
        .collect();
    let required = settings.clients.as_ref().is_some_and(|c| c.required);
    Tls::new(pem(&contents?)?, required, clock)
}

fn tls_files(settings: &config::Tls) -> Vec<std::path::PathBuf> {
    let mut files = vec![settings.cert_file.clone(), settings.key_file.clone()];
    if let Some(clients) = &settings.clients {
        files.push(clients.ca_file.clone());
        files.extend(clients.crl_file.clone());
    }
    files
}

/// The files' contents, in the order of [`tls_files`].
fn pem(contents: &[Vec<u8>]) -> Result<Pem<'_>, String> {
    match contents {
        [cert, key, rest @ ..] => Ok(Pem {
            cert,
            key,
            client_ca: rest.first().map(Vec::as_slice),
            client_crl: rest.get(1).map(Vec::as_slice),
        }),
        _ => Err("TLS takes a certificate and a key".to_owned()),
    }
}

fn pem_bytes_max() -> u64 {
    u64::try_from(limits::PEM_BYTES_MAX).unwrap_or(u64::MAX)
}

/// All files that may change while the service runs.
pub(super) fn watches(config: &Config, changing: &Changing, lanes: &[LaneOptions]) -> Vec<Watch> {
    let callers = &changing.callers;
    let grace = config.server.reload_grace;
    let mut watches = Vec::new();
    if let (Some(settings), Some(tls)) = (&config.server.tls, &changing.tls) {
        let tls = tls.clone();
        let files = tls_files(settings);
        let closing = (tls.clone(), settings.clone());
        let take = move |contents: &[Vec<u8>]| tls.replace(pem(contents)?);
        let watch = Watch::new("server.tls", files, pem_bytes_max(), take);
        watches.push(watch.closed_after(grace, move || {
            let (tls, settings) = &closing;
            close_clients(tls, settings)
        }));
    }
    for issuer in &config.issuers {
        let KeysFrom::File { path, .. } = &issuer.keys else {
            continue;
        };
        let name = &issuer.settings.name;
        let Some(made) = callers.issuer(name).cloned() else {
            continue;
        };
        let max = u64::try_from(limits::JWKS_BYTES_MAX).unwrap_or(u64::MAX);
        let what = format!("issuers.{name}.jwks_file");
        let closing = Arc::clone(&made);
        let take = move |contents: &[Vec<u8>]| {
            made.set_keys(Keys::parse(text(contents)?)?);
            Ok(())
        };
        let watch = Watch::new(what, [path.clone()], max, take);
        watches.push(watch.closed_after(grace, move || {
            closing.forget_keys();
            true
        }));
    }
    for caller in &config.callers {
        let Some(path) = &caller.token_file else {
            continue;
        };
        let (id, callers) = (caller.settings.id.clone(), Arc::clone(callers));
        let what = format!("callers.{id}.token_file");
        let closing = (id.clone(), Arc::clone(&callers));
        let take = move |contents: &[Vec<u8>]| {
            let tokens = config::tokens(text(contents)?)?;
            if tokens.is_empty() {
                tracing::warn!(caller = %id, "the token file is empty: no token is accepted");
            }
            let replaced = callers.replace_tokens(&id, &tokens);
            replaced.map_err(|shared| shared.to_string())
        };
        let max = config::SECRET_FILE_BYTES_MAX;
        let watch = Watch::new(what, [path.clone()], max, take);
        watches.push(watch.closed_after(grace, move || {
            let (id, callers) = &closing;
            callers.replace_tokens(id, &[]).is_ok()
        }));
    }
    for (account, lane) in config.accounts.iter().zip(lanes) {
        let Some(path) = &account.credential_file else {
            continue;
        };
        let egress = lane.egress.clone();
        let what = format!("accounts.{}.credential_file", account.account.name);
        let take = move |contents: &[Vec<u8>]| {
            egress.replace_credential(&config::credential(text(contents)?)?)
        };
        let max = config::SECRET_FILE_BYTES_MAX;
        watches.push(Watch::new(what, [path.clone()], max, take));
    }
    watches
}

/// Believes no client's certificate any more, if it is the files for those that cannot be used: a
/// certificate of the listener's own is no proof of anybody else.
fn close_clients(tls: &Tls, settings: &config::Tls) -> bool {
    let Some(clients) = &settings.clients else {
        return false;
    };
    let read = |file: &std::path::PathBuf| read_file(file, pem_bytes_max());
    let is_good = || {
        let ca = read(&clients.ca_file).ok()?;
        let crl = clients.crl_file.as_ref().map(read).transpose().ok()?;
        Tls::check_clients(&ca, crl.as_deref()).ok()
    };
    is_good().is_none() && tls.distrust_clients().is_ok()
}

fn text(contents: &[Vec<u8>]) -> Result<&str, String> {
    let first = contents.first().map(Vec::as_slice).unwrap_or_default();
    std::str::from_utf8(first).map_err(|_| "it is not UTF-8".to_owned())
}
