//! From a configuration to who may call, and to what of it changes while the service runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::{
    ReloadHandles,
    file_watch::FileWatcher,
    jwks_refresh::{FetchState, Fetcher, Fetchers, Freshness},
    server::tls::{Pem, Tls},
};
use crate::{
    audit::{Rejection, Signer, Sink},
    config::{
        self, ClientCertificates, Config, IssuerConfig, KeysFrom, RevokedFile, read_file, read_text,
    },
    domain::access::provenance::Provenance,
    egress::jwks_client::authorities,
    engine::{Clock, LaneOptions},
    identity::{Authority, CallerSettings, Callers, Issuer, Jwks, Revoked},
    limits,
    rpc::{Access, KeySource, RejectionLog},
};

/// The callers, and where keys that are not known may come from.
pub(super) fn access(config: &Config, audit: &Sink) -> (Access, Arc<Fetchers>) {
    let (issuers, fetchers) = issuers(&config.issuers, &[], &Callers::default(), &[], audit);
    let fetchers = Arc::new(Fetchers::new(fetchers));
    let callers = Callers::new(&callers(config), issuers);
    if let Some(list) = &config.server.revoked {
        callers.revoke(list.revoked.clone());
    }
    let keys: Arc<dyn KeySource> = Arc::<Fetchers>::clone(&fetchers);
    let access = Access {
        callers: Arc::new(callers),
        keys: Some(keys),
        refusals: told_to(audit.clone()),
        audit: audit.clone(),
    };
    (access, fetchers)
}

/// The callers as they are configured.
pub(super) fn callers(config: &Config) -> Vec<CallerSettings> {
    let callers = config.callers.iter();
    callers.map(|caller| caller.settings.clone()).collect()
}

/// Issuers with what fetches their keys. Of those `before`, as they were configured, those that
/// have not changed go on as they are, and keys from where they came from stay.
pub(super) fn issuers(
    configured: &[IssuerConfig],
    before: &[IssuerConfig],
    made_before: &Callers,
    fetched_before: &[Arc<Fetcher>],
    audit: &Sink,
) -> (Vec<Arc<Issuer>>, Vec<Arc<Fetcher>>) {
    let (mut issuers, mut fetchers) = (Vec::new(), Vec::new());
    for config in configured {
        let name = &config.settings.name;
        let was = before.iter().find(|was| was.settings.name == *name);
        let from_same_place = was.is_some_and(|was| was.keys.is_same_place(&config.keys));
        let made_before = made_before.issuer(name).filter(|_| from_same_place);
        let made = match &made_before {
            Some(made) if *made.settings() == config.settings => Arc::clone(made),
            _ => Arc::new(Issuer::new(config.settings.clone())),
        };
        let is_new = made_before
            .as_ref()
            .is_none_or(|before| !Arc::ptr_eq(before, &made));
        if let (Some(before), true) = (&made_before, is_new) {
            made.take_keys_of(before);
        }
        match &config.keys {
            // What it has changed to meanwhile is taken by whoever watches it.
            KeysFrom::File { keys, .. } if made_before.is_none() => made.set_keys(keys.clone()),
            KeysFrom::File { .. } => {}
            KeysFrom::Url {
                url,
                ca_file,
                token_file,
                refresh,
            } => {
                let mut fetched = fetched_before.iter();
                let goes_on = fetched.find(|before| Arc::ptr_eq(&before.issuer, &made));
                let goes_on = goes_on.filter(|before| before.refresh == *refresh);
                fetchers.push(goes_on.cloned().unwrap_or_else(|| {
                    Arc::new(Fetcher {
                        issuer: Arc::clone(&made),
                        url: url.clone(),
                        ca_file: ca_file.clone(),
                        token_file: token_file.clone(),
                        refresh: *refresh,
                        state: Mutex::new(FetchState::default()),
                        freshness: Freshness::default(),
                        audit: audit.clone(),
                    })
                }));
            }
        }
        issuers.push(made);
    }
    (issuers, fetchers)
}

/// Refusals for the audit too.
fn told_to(audit: Sink) -> RejectionLog {
    RejectionLog::new(move |refusal| {
        audit.refused(refusal.why, refusal.code, &refusal.source(), |refused| {
            let is_strangers = refusal.why.is_about_a_stranger();
            Rejection {
                cause: is_strangers.then_some(refusal.reason),
                detail: is_strangers.then(|| refusal.message.to_owned()),
                caller: refusal.caller.cloned(),
                from: Provenance {
                    peer: refusal.peer,
                    proofs: refusal.proofs.to_vec(),
                    request_id: refusal.request_id.map(ToString::to_string),
                },
                method: Some(refusal.method),
                key: refusal.asked.and_then(|asked| asked.key.clone()),
                items: refusal.asked.and_then(|asked| asked.items),
                batch: refusal.asked.and_then(|asked| asked.batch.clone()),
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
pub(super) fn tls(settings: &config::TlsConfig, clock: Clock) -> Result<Tls, String> {
    let read = |file: &PathBuf| read_file(file, pem_bytes_max());
    let contents: Result<Vec<_>, _> = tls_files(settings).iter().map(read).collect();
    let contents = contents?;
    let Some(clients) = &settings.clients else {
        return Tls::new(pem(settings, &contents)?, Vec::new(), false, clock);
    };
    let authorities = clients.authorities.iter().map(|(authority, file)| {
        let pem = read(file)?;
        Ok((authority.clone(), pem))
    });
    let authorities: Result<Vec<_>, String> = authorities.collect();
    let (own, required) = (pem(settings, &contents)?, clients.required);
    Tls::new(own, authorities?, required, clock)
}

/// The files that are taken together. Each authority with a name is taken by itself, so that one
/// that cannot be used keeps none of the others from being changed.
fn tls_files(settings: &config::TlsConfig) -> Vec<PathBuf> {
    let mut files = vec![settings.cert_file.clone(), settings.key_file.clone()];
    if let Some(clients) = &settings.clients {
        files.extend(clients.ca_file.clone());
        files.extend(clients.crl_file.clone());
    }
    files
}

/// The files' contents, in the order of [`tls_files`].
fn pem<'a>(settings: &config::TlsConfig, contents: &'a [Vec<u8>]) -> Result<Pem<'a>, String> {
    let [cert, key, rest @ ..] = contents else {
        return Err("TLS takes a certificate and a key".to_owned());
    };
    let mut rest = rest.iter().map(Vec::as_slice);
    let clients = settings.clients.as_ref();
    let has = |file: fn(&ClientCertificates) -> bool| clients.is_some_and(file);
    Ok(Pem {
        cert,
        key,
        client_ca: has(|of| of.ca_file.is_some())
            .then(|| rest.next())
            .flatten(),
        client_crl: has(|of| of.crl_file.is_some())
            .then(|| rest.next())
            .flatten(),
    })
}

fn pem_bytes_max() -> u64 {
    u64::try_from(limits::PEM_BYTES_MAX).unwrap_or(u64::MAX)
}

/// All files that may change while the service runs, but for those that follow from the
/// configuration file.
pub(super) fn watches(
    config: &Config,
    changing: &ReloadHandles,
    lanes: &[LaneOptions],
) -> Vec<FileWatcher> {
    let grace = config.server.reload_grace;
    let mut watches = Vec::new();
    if let (Some(settings), Some(tls)) = (&config.server.tls, &changing.tls) {
        let tls = tls.clone();
        let files = tls_files(settings);
        let closing = (tls.clone(), settings.clone());
        let (taking, of) = (tls.clone(), settings.clone());
        let take = move |contents: &[Vec<u8>]| taking.replace(pem(&of, contents)?);
        let watch = FileWatcher::new("server.tls", files, pem_bytes_max(), take);
        watches.push(watch.closed_after(grace, move || {
            let (tls, settings) = &closing;
            close_clients(tls, settings)
        }));
        let named = settings.clients.iter().flat_map(|of| &of.authorities);
        for (authority, file) in named {
            let what = format!(
                "authorities.{}.ca_file",
                authority.name().unwrap_or_default()
            );
            let (taking, closing) = (tls.clone(), tls.clone());
            let (of, closed) = (authority.clone(), authority.clone());
            let take = move |contents: &[Vec<u8>]| {
                let pem = contents.first().map(Vec::as_slice);
                taking.replace_authority(&of, pem.unwrap_or_default())
            };
            let watch = FileWatcher::new(what, [file.clone()], pem_bytes_max(), take);
            let close = move || closing.distrust(&closed).is_ok();
            watches.push(watch.closed_after(grace, close));
        }
    }
    if let Some(RevokedFile { path, .. }) = &config.server.revoked {
        let callers = Arc::clone(&changing.callers);
        let take = move |contents: &[Vec<u8>]| {
            let revoked = Revoked::parse(text(contents)?).map_err(|why| format!("it {why}"))?;
            callers.revoke(revoked);
            Ok(())
        };
        // No grace: while it cannot be used, what was on it stays revoked.
        let max = u64::try_from(limits::REVOKED_BYTES_MAX).unwrap_or(u64::MAX);
        watches.push(FileWatcher::new(
            "server.revoked_file",
            [path.clone()],
            max,
            take,
        ));
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
        watches.push(FileWatcher::new(what, [path.clone()], max, take));
    }
    watches
}

/// Files with what proves callers, as the configuration file names them.
pub(super) fn watches_of_callers(
    config: &Config,
    changing: &ReloadHandles,
    grace: Duration,
) -> Vec<FileWatcher> {
    let callers = &changing.callers;
    let mut watches = Vec::new();
    for issuer in &config.issuers {
        let KeysFrom::File { path, .. } = &issuer.keys else {
            continue;
        };
        let name = &issuer.settings.name;
        let Some(made) = callers.issuer(name) else {
            continue;
        };
        let max = u64::try_from(limits::JWKS_BYTES_MAX).unwrap_or(u64::MAX);
        let what = format!("issuers.{name}.jwks_file");
        let closing = Arc::clone(&made);
        let take = move |contents: &[Vec<u8>]| {
            made.set_keys(Jwks::parse(text(contents)?)?);
            Ok(())
        };
        let watch = FileWatcher::new(what, [path.clone()], max, take);
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
        let watch = FileWatcher::new(what, [path.clone()], max, take);
        watches.push(watch.closed_after(grace, move || {
            let (id, callers) = &closing;
            callers.replace_tokens(id, &[]).is_ok()
        }));
    }
    watches
}

/// Believes no client's certificate any more, if it is the files for those that cannot be used: a
/// certificate of the listener's own is no proof of anybody else. Without the revocation lists that
/// is every certificate.
fn close_clients(tls: &Tls, settings: &config::TlsConfig) -> bool {
    let Some(clients) = &settings.clients else {
        return false;
    };
    let read = |file: &PathBuf| read_file(file, pem_bytes_max()).ok();
    let is_good = |file: &Option<PathBuf>, check: &dyn Fn(&[u8]) -> bool| match file {
        Some(file) => read(file).is_some_and(|pem| check(&pem)),
        None => true,
    };
    if !is_good(&clients.crl_file, &|pem| tls.check_revoked(pem).is_ok()) {
        return tls.distrust_clients().is_ok();
    }
    let bundle = Authority::default();
    !is_good(&clients.ca_file, &|pem| Tls::check_authorities(pem).is_ok())
        && tls.distrust(&bundle).is_ok()
}

pub(super) fn text(contents: &[Vec<u8>]) -> Result<&str, String> {
    let first = contents.first().map(Vec::as_slice).unwrap_or_default();
    std::str::from_utf8(first).map_err(|_| "it is not UTF-8".to_owned())
}
