//! Takes what is one person's out of the audit: the openings of lines of version 2, and what lines
//! of version 1 have in themselves. A line that says so comes first, and names the lines that lack
//! something from then on; each of them keeps its place in the chain.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufWriter, Write as _},
    path::Path,
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Error,
    chain::{self, opening::Openings},
    entry::{AuditEntry, ranges},
    segment_log::{FoundSegments as Opened, Position, SegmentLog, io_error, sync_dir},
    segments::Segment,
};
use crate::{
    domain::{
        ids::{CallerId, Key},
        opaque::Names,
        personal::erasure::{Extent, Whose},
    },
    journal::{Audited, Found, directory::private_files},
};

/// What is erased, and what is said of it.
#[derive(Debug)]
pub struct Erasure<'a> {
    /// Whose.
    pub whose: &'a Whose,
    /// What stands for them in the line.
    pub digest: &'a str,
    /// What of theirs the journal has.
    pub found: &'a Found,
    /// What the journal's batches are called.
    pub names: &'a Names,
    /// How far the journal knows the audit.
    pub known: Option<&'a Audited>,
    /// Why, in the words of whoever does it.
    pub why: Option<&'a str>,
    /// The time of day.
    pub now: Timestamp,
}

/// Ranges of lines that one line names at most.
const RANGES_MAX: usize = 200;

/// What a line has that may be theirs.
#[derive(Deserialize)]
struct Seen {
    seq: u64,
    event: String,
    caller: Option<String>,
    method: Option<String>,
    batch: Option<String>,
    index: Option<u32>,
    #[serde(default)]
    subscribers_count: Option<usize>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(flatten)]
    opened: Shown,
}

impl Seen {
    /// Whether its reason may be in a caller's own words: those of other lines are ours or from a
    /// list.
    fn has_words(&self) -> bool {
        let is_of_item = ["admitted", "opened", "settled"].contains(&self.event.as_str());
        is_of_item && self.method.as_deref() == Some("CancelEnrollments")
    }
}

/// The same of what it shows.
#[derive(Default, Deserialize)]
struct Shown {
    key: Option<String>,
    target: Option<String>,
    #[serde(default)]
    subscribers: Vec<Option<String>>,
    provider_code: Option<String>,
    provider_reference: Option<String>,
    #[serde(default)]
    filters: Vec<Option<String>>,
}

/// What is known of theirs besides what they are called.
#[derive(Debug, Default)]
struct Theirs {
    /// Keys, by whose they are.
    keys: BTreeSet<(String, String)>,
    /// Items that are theirs alone.
    items: BTreeSet<(String, u32)>,
}

/// A batch with items of theirs, as lines tell of it.
#[derive(Debug, Default)]
struct TheirBatch {
    /// The keys of their items, by index.
    keys: BTreeMap<u32, String>,
    /// Whether it has items of others.
    has_others: bool,
}

/// What goes of a line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gone {
    key: bool,
    target: bool,
    reason: bool,
    provider_code: bool,
    provider_reference: bool,
    subscribers: Vec<bool>,
    filters: Vec<bool>,
}

/// Erases it; says from how many lines. Who writes the audit is kept out meanwhile. The line that
/// says so is written in any case, so that it shows that somebody looked for it.
///
/// # Errors
/// The audit is not whole, or it cannot be read or written. Done again, it goes on.
pub fn erase(dir: &Path, erasure: &Erasure<'_>) -> Result<usize, Error> {
    let known = erasure.known.map(|known| Position {
        head: chain::ChainHead {
            seq: known.seq,
            hash: known.hash.clone(),
        },
        trail: known.trail,
        part: u32::MAX,
    });
    let Opened { mut log, gap } = SegmentLog::open(dir, known.as_ref())?;
    if let Some(gap) = gap {
        return Err(Error::Line(format!(
            "the audit is not whole: {gap}; start the service on it once, which says so in it, and \
             run this again"
        )));
    }
    let segments = Segment::list(dir).map_err(io_error("listing", dir))?;
    let theirs = Theirs::find(&segments, erasure)?;
    let lines = theirs.lines(&segments, erasure.whose)?;
    let what = match erasure.whose {
        Whose::Target(_) => "target",
        Whose::Text(_) => "match",
        Whose::Addresses => "addresses",
    };
    let named = ranges::written(lines.iter().copied(), RANGES_MAX);
    let named = if named.is_empty() {
        vec![None]
    } else {
        named.iter().map(|lines| Some(lines.as_str())).collect()
    };
    for lines in named {
        let of = (what, erasure.digest);
        let records = erasure.found.items.len();
        log.add(
            AuditEntry::erased(erasure.now, of, erasure.why, records, lines),
            None,
        )?;
    }
    log.sync(erasure.now)?;
    // From here on every line that lacks something is named by one that is durable.
    for segment in &segments {
        if lines.range(segment.first..).next().is_some() {
            theirs.rewrite(dir, segment, erasure.whose)?;
        }
    }
    // Root may have done it, for a service of another user.
    private_files::give_to_owner(dir).map_err(io_error("giving to its owner what is in", dir))?;
    Ok(lines.len())
}

impl Theirs {
    /// What is theirs by what the journal has, and by the lines themselves: what the journal has
    /// forgotten is still told of here.
    fn find(segments: &[Segment], erasure: &Erasure<'_>) -> Result<Self, Error> {
        let text =
            |(caller, key): &(CallerId, Key)| (caller.as_str().to_owned(), key.as_str().to_owned());
        let items = erasure.found.items.iter();
        let whole = items.filter(|(_, extent)| **extent == Extent::Whole);
        let mut theirs = Self {
            keys: erasure.found.keys.iter().map(text).collect(),
            items: whole
                .map(|(id, _)| (erasure.names.of(id.batch).as_str().to_owned(), id.index))
                .collect(),
        };
        each_line(segments, |_, line| {
            let seen = seen(line);
            if let Some(seen) = seen.filter(|seen| theirs.is_whole(seen, erasure.whose))
                && let Some((_, item, _)) = item_of(&seen)
            {
                theirs.items.insert(item);
            }
            Ok(())
        })?;
        for ((caller, _), batch) in theirs.batches(segments)? {
            for (index, key) in batch.keys {
                let derived = key.strip_suffix(&format!("/{index}"));
                if let Some(request) = derived.filter(|_| !batch.has_others) {
                    theirs.keys.insert((caller.clone(), request.to_owned()));
                }
                theirs.keys.insert((caller.clone(), key));
            }
        }
        Ok(theirs)
    }

    /// What lines tell of the batches that have items of theirs. Of other batches nothing is kept:
    /// the audit may tell of far more of them than memory holds.
    fn batches(
        &self,
        segments: &[Segment],
    ) -> Result<BTreeMap<(String, String), TheirBatch>, Error> {
        let names: BTreeSet<_> = self.items.iter().map(|(batch, _)| batch.as_str()).collect();
        let mut batches = BTreeMap::<_, TheirBatch>::new();
        each_line(segments, |_, line| {
            let Some(seen) = seen(line) else {
                return Ok(());
            };
            if let Some((caller, item, key)) = item_of(&seen)
                && names.contains(item.0.as_str())
            {
                let is_theirs = self.items.contains(&item);
                let (name, index) = item;
                let batch = batches.entry((caller.to_owned(), name)).or_default();
                if is_theirs {
                    batch.keys.entry(index).or_insert_with(|| key.to_owned());
                } else {
                    batch.has_others = true;
                }
            }
            Ok(())
        })?;
        Ok(batches)
    }

    /// Whether a line is about them alone.
    fn is_whole(&self, seen: &Seen, whose: &Whose) -> bool {
        let item = seen.batch.clone().zip(seen.index);
        if item.is_some_and(|item| self.items.contains(&item)) {
            return true;
        }
        let shown = &seen.opened;
        let is = |text: &Option<String>| text.as_deref().is_some_and(|text| whose.is(text));
        let says = |text: &Option<String>| text.as_deref().is_some_and(|text| whose.is_in(text));
        // A derived key is that of a request, which may be of others too.
        let suffix = seen.index.map(|index| format!("/{index}"));
        let is_derived = |key: &str| suffix.as_ref().is_some_and(|end| key.ends_with(end));
        let own = shown.key.as_ref().filter(|key| !is_derived(key));
        if own.is_some_and(|key| whose.is_in(key)) {
            return true;
        }
        if seen.method.as_deref() == Some("CancelSubscription") {
            let texts = [&shown.provider_code, &shown.provider_reference];
            return is(&shown.target)
                || (matches!(whose, Whose::Text(_)) && texts.into_iter().any(says));
        }
        let is_one = seen.subscribers_count.is_none() && shown.subscribers.len() == 1;
        is_one && shown.subscribers.iter().any(is)
    }

    /// What goes of a line; `None` if nothing of it is theirs.
    fn gone(&self, seen: &Seen, whose: &Whose) -> Option<Gone> {
        let is_whole = self.is_whole(seen, whose);
        let shown = &seen.opened;
        let goes = |text: &Option<String>| {
            let says = |text: &str| whose.is(text) || whose.is_in(text);
            text.as_deref().is_some_and(|text| is_whole || says(text))
        };
        let is_subscription = seen.method.as_deref() == Some("CancelSubscription");
        let key_of = |text: &str| {
            let caller = seen.caller.clone().unwrap_or_default();
            self.keys.contains(&(caller, text.to_owned()))
        };
        let is_key = shown.key.as_deref().is_some_and(key_of);
        let filter = |filter: &Option<String>| {
            let value = filter.as_deref().and_then(|filter| filter.split_once('='));
            value.is_some_and(|(_, value)| {
                let mut keys = self.keys.iter();
                whose.is(value) || whose.is_in(value) || keys.any(|(_, key)| key == value)
            })
        };
        let gone = Gone {
            key: goes(&shown.key) || is_key,
            target: match &shown.target {
                // A sequence is nobody's.
                Some(target) => whose.is(target) || (is_whole && is_subscription),
                None => false,
            },
            reason: seen.has_words() && goes(&seen.reason),
            provider_code: goes(&shown.provider_code),
            provider_reference: goes(&shown.provider_reference),
            subscribers: shown
                .subscribers
                .iter()
                .map(|id| id.as_deref().is_some_and(|id| whose.is(id)))
                .collect(),
            filters: shown.filters.iter().map(filter).collect(),
        };
        let lists = gone.subscribers.iter().chain(&gone.filters);
        let is_any = gone.key
            || gone.target
            || gone.reason
            || gone.provider_code
            || gone.provider_reference
            || lists.copied().any(|goes| goes);
        is_any.then_some(gone)
    }

    /// The lines that something goes of.
    fn lines(&self, segments: &[Segment], whose: &Whose) -> Result<BTreeSet<u64>, Error> {
        let mut lines = BTreeSet::new();
        each_line(segments, |_, line| {
            if let Some(seen) = seen(line)
                && self.gone(&seen, whose).is_some()
            {
                lines.insert(seen.seq);
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// Writes a file anew without what goes, and puts it in its place.
    fn rewrite(&self, dir: &Path, segment: &Segment, whose: &Whose) -> Result<(), Error> {
        let fresh = segment.path.with_extension(FRESH);
        let failed = |doing| io_error(doing, &fresh);
        // What a crash left of an earlier one.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("removing")(error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = private_files::make(&fresh).map_err(failed("making"))?;
        let mut out = BufWriter::new(file);
        let mut has_changed = false;
        each_line(std::slice::from_ref(segment), |_, line| {
            let gone = seen(line).and_then(|seen| self.gone(&seen, whose));
            let left = gone.map(|gone| without(line, &gone)).transpose()?;
            has_changed |= left.is_some();
            let written = out.write_all(left.as_deref().unwrap_or(line));
            written.map_err(failed("writing"))
        })?;
        let file = out
            .into_inner()
            .map_err(|error| failed("writing")(error.into_error()))?;
        file.sync_all().map_err(failed("syncing"))?;
        if has_changed {
            let replaced = fs::rename(&fresh, &segment.path);
            replaced.map_err(io_error("replacing", &segment.path))?;
        } else {
            fs::remove_file(&fresh).map_err(failed("removing"))?;
        }
        sync_dir(dir)
    }
}

/// Ends the name of a file that is to replace another one.
const FRESH: &str = "fresh";

/// A line in what may be theirs; `None` for one that does not decode, which has nothing to go by.
fn seen(line: &[u8]) -> Option<Seen> {
    serde_json::from_slice(line).ok()
}

/// The caller, the item and the key of a line that shows all three.
fn item_of(seen: &Seen) -> Option<(&str, (String, u32), &str)> {
    let item = seen.batch.clone().zip(seen.index)?;
    Some((seen.caller.as_deref()?, item, seen.opened.key.as_deref()?))
}

fn each_line(
    segments: &[Segment],
    mut each: impl FnMut(&Segment, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    for segment in segments {
        let mut lines = segment
            .lines()
            .map_err(io_error("opening", &segment.path))?;
        while let Some(line) = lines
            .next_line()
            .map_err(io_error("reading", &segment.path))?
        {
            each(segment, line)?;
        }
    }
    Ok(())
}

/// A line without what goes, with its hash.
fn without(line: &[u8], gone: &Gone) -> Result<Vec<u8>, Error> {
    let failed = |why: String| Error::Line(format!("it cannot be taken apart: {why}"));
    let parts = chain::parts(line).map_err(failed)?;
    let mut left = Vec::with_capacity(line.len());
    if parts.is_sealed() {
        left.extend(parts.content);
        let openings = opened_without(parts.openings.clone(), gone);
        chain::finish(&mut left, &parts.hash_text(), Some(&openings))?;
    } else {
        let fields = content_without(parts.content, gone).map_err(failed)?;
        left.extend(fields);
        chain::finish(&mut left, &parts.hash_text(), None)?;
    }
    Ok(left)
}

fn opened_without<'a>(mut openings: Openings<'a>, gone: &Gone) -> Openings<'a> {
    let (values, salts) = (&mut openings.values, &mut openings.salts);
    if gone.key {
        (values.key, salts.key) = (None, None);
    }
    if gone.target {
        (values.target, salts.target) = (None, None);
    }
    if gone.reason {
        (values.reason, salts.reason) = (None, None);
    }
    if gone.provider_code {
        (values.provider_code, salts.provider_code) = (None, None);
    }
    if gone.provider_reference {
        (values.provider_reference, salts.provider_reference) = (None, None);
    }
    for (list, salts, gone) in [
        (
            &mut values.subscribers,
            &mut salts.subscribers,
            &gone.subscribers,
        ),
        (&mut values.filters, &mut salts.filters, &gone.filters),
    ] {
        for ((value, salt), goes) in list.iter_mut().zip(salts.iter_mut()).zip(gone) {
            if *goes {
                (*value, *salt) = (None, None);
            }
        }
        if list.iter().all(Option::is_none) {
            list.clear();
            salts.clear();
        }
    }
    openings
}

/// Of a line of version 1: what its hash was of, without what goes. Its hash is of it no more.
fn content_without(content: &[u8], gone: &Gone) -> Result<Vec<u8>, String> {
    let mut json = content.to_vec();
    json.push(b'}');
    let fields = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let serde_json::Value::Object(mut fields) = fields else {
        return Err("it is no object".to_owned());
    };
    for (field, goes) in [
        ("key", gone.key),
        ("target", gone.target),
        ("reason", gone.reason),
        ("provider_code", gone.provider_code),
        ("provider_reference", gone.provider_reference),
    ] {
        if goes {
            fields.remove(field);
        }
    }
    for (field, gone) in [
        ("subscribers", &gone.subscribers),
        ("filters", &gone.filters),
    ] {
        if let Some(serde_json::Value::Array(values)) = fields.get_mut(field) {
            for (value, goes) in values.iter_mut().zip(gone) {
                if *goes {
                    *value = serde_json::Value::Null;
                }
            }
        }
    }
    fields.insert("erased".to_owned(), true.into());
    let mut left = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    left.pop();
    Ok(left)
}
