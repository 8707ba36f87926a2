//! WIP
mod document;
mod filter;
mod json;
mod number;
mod path;
mod transform;

