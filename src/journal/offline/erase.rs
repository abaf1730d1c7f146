//! Erasing what is one person's from a journal that no service has open, for operators.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{opaque::Names, personal::erasure::Whose},
    journal::{
        Audited, Found, Unavailable,
        directory::{
            JournalDir, OpenError, Purpose,
            compaction::{Compactor, Rules},
            damaged, private_files,
        },
        error::StorageError,
        read::reader::Reader,
        sled_journal::SledJournalOptions,
        store::swap::Stores,
        write::{erasure, ledger::Ledger, writer_thread::SyncDisk as _},
    },
    limits,
};

/// A journal that something is erased from. Others are kept out until it is dropped.
pub struct Erasing {
    home: JournalDir,
    ledger: Ledger<Stores>,
    options: SledJournalOptions,
}

impl Erasing {
    /// Opens a journal that is there. What is in it is as it was until something is erased.
    ///
    /// # Errors
    /// Says what is wrong and what to do about it.
    pub fn open(options: &SledJournalOptions) -> Result<Self, OpenError> {
        // Looks first, which makes nothing where no journal is.
        drop(JournalDir::open(
            &options.dir,
            options.cache_bytes,
            Purpose::Look,
        )?);
        let home = JournalDir::open(&options.dir, options.cache_bytes, Purpose::Serve)?;
        // What is not told yet stays to be told, if there is an audit.
        let audited = Reader(&*home.store)
            .audited()
            .map_err(damaged(&options.dir))?;
        let ledger = Ledger::load(Arc::clone(&home.store), audited.is_some());
        let mut ledger = ledger.map_err(damaged(&options.dir))?;
        if ledger.commits() < home.acknowledged {
            return Err(OpenError::Shortened {
                dir: options.dir.clone(),
                found: ledger.commits(),
                expected: home.acknowledged,
            });
        }
        ledger.set_secret(home.secret.clone());
        Ok(Self {
            home,
            ledger,
            options: options.clone(),
        })
    }

    /// How far its audit had got when it was closed; `None` if it never had one.
    ///
    /// # Errors
    /// That record makes no sense.
    pub fn audited(&self) -> Result<Option<Audited>, Unavailable> {
        Ok(Reader(&*self.home.store).audited()?)
    }

    /// Finds what is theirs.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn find(&self, whose: &Whose, now: Timestamp) -> Result<Found, Unavailable> {
        Ok(erasure::find(Reader(&*self.home.store), whose, now)?)
    }

    /// What its batches are called.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        self.home.meta.names()
    }

    /// What is kept of whose it was.
    #[must_use]
    pub fn digest(&self, whose: &Whose) -> String {
        whose.digest(&self.home.secret)
    }

    /// Raises the journal to the format that is written, which comes before anything is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn raise(&mut self) -> Result<(), OpenError> {
        let next = self.ledger.next();
        self.home.raise(&self.options.dir, next)
    }

    /// Takes what was found out of the records, durably; says of how many items.
    ///
    /// # Errors
    /// It cannot be written. What a crash leaves of what was found is found again by the next
    /// [`Self::find`].
    pub fn erase(&mut self, found: &Found, whose: &Whose) -> Result<usize, Unavailable> {
        self.raise()
            .map_err(|error| Unavailable(error.to_string()))?;
        let erased = self.ledger.erase(found, whose)?;
        if let Some(commits) = self.ledger.close_group()? {
            let synced = self.home.store.disk().sync();
            let synced = synced.and_then(|()| self.home.high_water.advance(commits));
            synced.map_err(|error| StorageError::Store(format!("making it durable: {error}")))?;
        }
        Ok(erased)
    }

    /// Replaces the database's file by one without what was taken out.
    ///
    /// # Errors
    /// It cannot be replaced, so that what was taken out may still be in it.
    pub fn vacate(self) -> Result<(), Unavailable> {
        let rules = Rules {
            dir: self.options.dir.clone(),
            cache_bytes: self.options.cache_bytes,
            file_bytes_min: 0,
            free_bytes_min: self.options.free_bytes_min,
            free_space: self.options.free_space.clone(),
            entries_max: limits::STORE_COPY_ENTRIES,
        };
        let stores = Arc::clone(&self.home.store);
        let mut compactor = Compactor::new(rules, self.home.marker.clone(), Arc::clone(&stores));
        compactor.vacate();
        // It holds the database that is to be removed.
        drop(self.ledger);
        while compactor.is_busy() {
            compactor.step()?;
        }
        compactor.wait_closed();
        if stores.has_taken_out() {
            let why = "the database's file cannot be replaced, so what was erased may still be in \
                       it; the log says why: make room on the disk, and run it again";
            return Err(Unavailable(why.to_owned()));
        }
        let current = stores.current();
        for made_in in [&*self.options.dir, current.dir()] {
            // Root may have done it, for a service of another user.
            if let Err(error) = private_files::give_to_owner(made_in) {
                let dir = made_in.display();
                let why =
                    format!("{dir} has files of root's that the service cannot read: {error}");
                return Err(Unavailable(why));
            }
        }
        Ok(())
    }
}
