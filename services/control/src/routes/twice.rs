//! Operations on what belongs to a customer, each twice: with a tenant's key, which names the customer, and with a session's
//! token, which needs not.

use http::Method;

use crate::caller::Who;
use crate::operation::{Handler, Operation};

type Made = fn(Operation) -> Operation;
/// Method, paths, names, summary, handler, and the rest.
pub(crate) type Row = (
    Method,
    [&'static str; 2],
    [&'static str; 2],
    &'static str,
    Handler,
    Made,
);

/// What lies below a destination, as a tenant's key and as a session's token name it.
macro_rules! below {
    ($path:literal) => {
        [
            concat!(
                "/v1/customers/{externalId}/destinations/{destinationId}",
                $path
            ),
            concat!("/v1/destinations/{destinationId}", $path),
        ]
    };
}
pub(crate) use below;

/// Each operation for a tenant's key and for a session's token.
pub(crate) fn twice(tag: &'static str, rows: Vec<Row>) -> Vec<Operation> {
    rows.into_iter()
        .flat_map(|(method, paths, ids, summary, handler, make)| {
            let tenant = Operation::new(method.clone(), paths[0], ids[0], tag, summary, handler);
            let session = Operation::new(method, paths[1], ids[1], tag, summary, handler);
            [make(tenant), make(session).who(Who::CUSTOMER)]
        })
        .collect()
}
