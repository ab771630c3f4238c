//! Whether images reach the model: a prompt has more tokens with an image than without.
//!
//! Before it measures, a visit asks each prompt once without its image. What the engine
//! then says of the prompt's length is what requests with images are held against.

use super::requests::Batch;
use super::work::Stage;
use super::{Running, Staged, VisitRun, attempt};
use crate::journal::Event;
use crate::tape;
use prony_config::Arrival;
use prony_metrics::record::{ErrorClass, Failed, Record};
use prony_plan::Phase;
use std::collections::BTreeMap;

/// The most prompts that are asked without images; those beyond are not held to anything.
const MOST: u32 = 16;
/// By so many tokens two texts of the same words in another order may differ.
const REORDERED: u32 = 4;

impl VisitRun<'_, '_> {
    /// Asks, once in a visit and if the workload has images. That it fails means that it is
    /// not known.
    pub(super) async fn ask_without_images(
        &mut self,
        stage: &Stage<'_>,
        running: &mut Running,
    ) -> Staged<()> {
        if self.cell.workload.images.is_empty() || self.without_images.is_some() {
            return Ok(Ok(()));
        }
        self.without_images = Some(BTreeMap::new());
        let batch = Batch {
            phase: Phase::Warmup,
            stage: &stage.id,
            first: 0,
            count: MOST.min(self.tape.prompts.len() as u32),
            arrival: Arrival::Concurrency(1),
            shards: 1,
            duration: None,
            cache: None,
            // All together: an engine that hangs is found out by what is measured.
            limit: Some(self.cell.workload.request_timeout.to_std()),
            has_images: false,
        };
        attempt!(self.send_batch(&batch, running).await?);
        let known = self.without_images.iter().flatten();
        let prompt_tokens = known.map(|(prompt, tokens)| (*prompt, *tokens)).collect();
        self.runner.tell(Event::WithoutImages {
            visit: self.visit.clone(),
            prompt_tokens,
        })?;
        Ok(Ok(()))
    }

    /// Keeps the length of a prompt without its image.
    pub(super) fn see_without_image(&mut self, record: &Record) {
        if let (true, Some(tokens)) = (record.ok(), record.prompt_tokens) {
            let known = self.without_images.get_or_insert_default();
            known.insert(record.place.prompt, tokens);
        }
    }

    /// Fails a request whose image is not in its prompt.
    pub(super) fn hold_to_image(&self, record: &mut Record) {
        let known = self.without_images.as_ref();
        let without = known.and_then(|known| known.get(&record.place.prompt));
        let (Some(_), Some(with), Some(without), true) = (
            record.place.image,
            record.prompt_tokens,
            without,
            record.ok(),
        ) else {
            return;
        };
        // What tells cold requests apart stands elsewhere in the two.
        let slack = if tape::is_cold(self.cell) {
            REORDERED
        } else {
            0
        };
        if with <= without + slack {
            record.failed = Some(Failed::new(
                ErrorClass::Protocol,
                format!(
                    "the image did not reach the model: the prompt has {with} tokens with it, and {without} without"
                ),
            ));
        }
    }
}
