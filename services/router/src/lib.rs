//! WIP
mod accepted;
pub mod dedup;
mod document;
mod fanout;
mod filter;
pub mod index;
mod json;
mod number;
mod path;
mod route;
#[cfg(test)]
mod testing;
mod transform;

pub use route::check;
