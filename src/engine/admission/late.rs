//! Checks items that are valid only as repeats, such as those whose time has passed.

use crate::engine::{Engine, Submission, SubmitError};

impl Engine {
    /// Which of these indexes have keys without a record. Reserves capacity for the request
    /// meanwhile, and reads the journal once.
    ///
    /// # Errors
    /// If there is no capacity, or the journal cannot be read.
    pub async fn unrecorded(
        &self,
        submission: &Submission,
        places: &[u32],
    ) -> Result<Vec<u32>, SubmitError> {
        let unrecorded = self.look_for(submission, places).await;
        unrecorded.inspect_err(|error| self.refusals.inc(error.refusal()))
    }

    async fn look_for(
        &self,
        submission: &Submission,
        places: &[u32],
    ) -> Result<Vec<u32>, SubmitError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let caller = &submission.scope.caller;
        let Ok(_held) = self.results_held.take(caller, submission.items.len()) else {
            self.readers.make_room();
            return Err(SubmitError::Full(
                "too many results of this caller wait for their readers".to_owned(),
            ));
        };
        let item = |place: u32| submission.items.get(usize::try_from(place).ok()?);
        let keys = places.iter().filter_map(|place| {
            let key = item(*place)?.key_at(&submission.key, *place);
            Some((*place, key))
        });
        let (places, keys): (Vec<_>, Vec<_>) = keys.unzip();
        let (scope, request) = (submission.scope.clone(), submission.key.clone());
        let known = self.known(scope, request, keys).await?;
        let found = places.into_iter().zip(known);
        Ok(found
            .filter_map(|(place, is_known)| (!is_known).then_some(place))
            .collect())
    }
}
