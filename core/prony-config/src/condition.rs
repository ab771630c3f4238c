//! `if:` of stages and steps.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::template::is_template;

/// Condition of a stage or a step: known when the pipeline is loaded, or a template that
/// evaluates to `true` or `false` during the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Known.
    Is(bool),
    /// A template evaluated during the run.
    When(String),
}

impl Condition {
    /// Returns `true` if it is known to hold.
    pub fn is_always(&self) -> bool {
        *self == Self::Is(true)
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::Is(true)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Is(value) => serializer.serialize_bool(*value),
            Self::When(template) => serializer.serialize_str(template),
        }
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false` or a template")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Condition, E> {
                Ok(Condition::Is(value))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Condition, E> {
                if is_template(text) {
                    Ok(Condition::When(text.to_owned()))
                } else {
                    Err(E::custom("a condition is `true`, `false` or a template"))
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Condition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        bool::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        bool::json_schema(generator)
    }
}
