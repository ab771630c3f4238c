//! Checks that images reach the model: a prompt has more tokens with an image than
//! without.
//!
//! Before it measures, a visit sends each prompt once without its image. The engine's
//! count of the prompt's tokens is then the reference for requests with images. The
//! nonces of cold requests may differ by a few tokens, so some dropped images in a cold
//! measurement go unnoticed; many are noticed, which is enough.

use super::Staged;
use super::engine::Running;
use super::requests::{Batch, Requests};
use super::stage::Stage;
use prony_config::{Arrival, Cache};
use prony_journal::Event;
use prony_record::Phase;
use prony_record::Record;
use std::collections::BTreeMap;

/// Maximum number of prompts sent without images; further ones are not checked.
const MAX_ASKED: u32 = 16;

impl Requests<'_, '_> {
    /// Sends prompts without images if the workload has any, once for each state of the
    /// cache. After a failure the lengths are unknown.
    pub(super) async fn ask_without_images(
        &mut self,
        stage: &Stage<'_>,
        running: &mut Running,
    ) -> Staged<()> {
        let cold = stage.cache == Some(Cache::Cold);
        let has_images = !self.point.workload.images.is_empty() || self.request_set.has_images();
        if !has_images || self.without_images.contains_key(&cold) {
            return Ok(());
        }
        self.without_images.insert(cold, BTreeMap::new());
        let prompts = stage.requests.min(self.request_set.prompts.len() as u32);
        let batch = Batch {
            phase: Phase::Warmup,
            stage: &stage.id,
            first: 0,
            count: MAX_ASKED.min(prompts),
            arrival: Arrival::Concurrency(1),
            shards: Some(1),
            duration: None,
            cache: stage.cache,
            // All together: a hanging engine is found by the measurement.
            limit: Some(self.point.workload.request_timeout.to_std()),
            has_images: false,
            question: None,
        };
        self.send_batch(&batch, running).await?;
        let known = self.without_images.get(&cold).into_iter().flatten();
        let prompt_tokens = known.map(|(prompt, tokens)| (*prompt, *tokens)).collect();
        self.run.tell(Event::WithoutImages {
            visit: self.visit.clone(),
            prompts,
            prompt_tokens,
        })?;
        Ok(())
    }

    /// Keeps the length of a prompt without its image.
    pub(super) fn see_without_image(&mut self, batch: &Batch<'_>, record: &Record) {
        if let (true, Some(tokens)) = (record.ok(), record.prompt_tokens) {
            let cold = batch.cache == Some(Cache::Cold);
            let known = self.without_images.entry(cold).or_default();
            known.insert(record.id.prompt, tokens);
        }
    }
}
