pub mod input;
pub mod json;
