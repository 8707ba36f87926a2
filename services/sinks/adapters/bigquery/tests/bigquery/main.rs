//! Against local-bigquery, which keeps tables in DuckDB and takes any token. What Google says of tokens, and what BigQuery refuses
//! without being asked to, is said by doubles: real HTTP and HTTP/2, with answers that were written down from Google's
//! documentation.

mod access;
mod conformance;
mod delivery;
mod doubles;
mod offsets;
mod support;
mod trouble;
