//! Whether images reach the model: a prompt has more tokens with an image than without.
//!
//! Before it measures, a visit asks each prompt once without its image. What the engine
//! then says of the prompt's length is what requests with images are held against. What
//! tells cold requests apart may be a few tokens longer in one than in another, so of images
//! that are dropped in a cold measure some are not found; many are, which is enough.

use super::Staged;
use super::engine::Running;
use super::requests::{Batch, Requests};
use super::stage::Stage;
use prony_config::{Arrival, Cache};
use prony_journal::Event;
use prony_plan::Phase;
use prony_record::{ErrorClass, Failed, Record};
use std::collections::BTreeMap;

/// The most prompts that are asked without images; those beyond are not held to anything.
const MAX_ASKED: u32 = 16;

impl Requests<'_, '_> {
    /// Asks if the workload has images, once for each state of the cache. That it fails
    /// means that it is not known.
    pub(super) async fn ask_without_images(
        &mut self,
        stage: &Stage<'_>,
        running: &mut Running,
    ) -> Staged<()> {
        let cold = stage.cache == Some(Cache::Cold);
        if self.point.workload.images.is_empty() || self.without_images.contains_key(&cold) {
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
            // All together: an engine that hangs is found out by what is measured.
            limit: Some(self.point.workload.request_timeout.to_std()),
            has_images: false,
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

    /// Fails a request whose image is not in its prompt.
    pub(super) fn hold_to_image(&self, batch: &Batch<'_>, record: &mut Record) {
        if batch.phase != Phase::Measure || record.id.image.is_none() || !record.ok() {
            return;
        }
        let cold = batch.cache == Some(Cache::Cold);
        let known = self.without_images.get(&cold);
        let without = known.and_then(|known| known.get(&record.id.prompt));
        if let (Some(with), Some(without)) = (record.prompt_tokens, without)
            && with <= *without
        {
            record.failed = Some(Failed::new(
                ErrorClass::Protocol,
                format!(
                    "the image did not reach the model: the prompt has {with} tokens with it, and {without} without"
                ),
            ));
        }
    }
}
