//! The engine against a registry in memory: single rules as stories, the whole as a property.

mod chaos;
mod rules;
mod waiting;
mod world;
