//! An engine that an adapter has a recipe for.

use crate::{Plugin, Result};
use prony_contract::{
    Artifact, Endpoint, Error, Event, HttpRequest, LaunchPlan, Manifest, Message, Model, Request,
    Response, StdioPlan,
};
use serde_json::Value;
use std::sync::Arc;

/// An adapter whose config names the recipe in each call.
pub(crate) struct WithRecipe {
    pub(crate) adapter: Arc<dyn Plugin>,
    pub(crate) recipe: String,
}

impl WithRecipe {
    fn config(&self, config: &Value) -> Value {
        let mut config = config.clone();
        if let Value::Object(options) = &mut config {
            options.insert("recipe".to_owned(), self.recipe.as_str().into());
        }
        config
    }
}

impl Plugin for WithRecipe {
    fn describe(&self) -> Result<Manifest> {
        self.adapter.describe()
    }

    fn check(&self, config: &Value) -> Result<Vec<Error>> {
        self.adapter.check(&self.config(config))
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        self.adapter.launch(&self.config(config), model, at)
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Result<HttpRequest> {
        self.adapter.encode(&self.config(config), model, request)
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Result<StdioPlan> {
        self.adapter.launch_stdio(&self.config(config), model)
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Result<Message> {
        let config = self.config(config);
        self.adapter.encode_stdio(&config, model, request, number)
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Result<Vec<Event>> {
        self.adapter.decode(&self.config(config), response)
    }

    fn render(&self, config: &Value, result: &str) -> Result<Vec<Artifact>> {
        self.adapter.render(config, result)
    }
}
