//! Tables: which one an event goes to, how it is made, and the statements on it.

use crate::config::{Config, Tables};

/// PostgreSQL's own limit, in bytes.
pub(crate) const IDENTIFIER_LEN_MAX: usize = 63;

/// Where the rows of one destination go.
pub(crate) struct Layout {
    schema: Box<str>,
    tables: Tables,
    pub(crate) create: bool,
    user: Box<str>,
}

impl Layout {
    pub(crate) fn of(config: &Config) -> Self {
        Layout {
            schema: config.schema.clone(),
            tables: config.tables.clone(),
            create: config.create_tables,
            user: config.user.clone(),
        }
    }

    /// The table of an event type, quoted and with its schema.
    pub(crate) fn table(&self, event_type: &str) -> String {
        let table = match &self.tables {
            Tables::Single { table } => quoted(table),
            Tables::PerType { prefix } => quoted(&name(prefix, event_type)),
        };
        format!("{}.{table}", quoted(&self.schema))
    }

    pub(crate) fn is_single(&self) -> bool {
        matches!(self.tables, Tables::Single { .. })
    }

    /// What the user lacks, as statements to paste.
    pub(crate) fn grants(&self, table: &str) -> String {
        let (schema, user) = (quoted(&self.schema), quoted(&self.user));
        let create = match self.create {
            true => format!(" GRANT CREATE ON SCHEMA {schema} TO {user};"),
            false => String::new(),
        };
        format!(
            "GRANT USAGE ON SCHEMA {schema} TO {user};{create} \
             GRANT INSERT, SELECT (event_id) ON {table} TO {user};"
        )
    }

    pub(crate) fn create_schema(&self) -> String {
        format!("CREATE SCHEMA {};", quoted(&self.schema))
    }
}

pub(crate) fn create(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (event_id uuid PRIMARY KEY, event_type text NOT NULL, \
         occurred_at timestamptz NOT NULL, customer_external_id text NOT NULL, source text, \
         payload jsonb NOT NULL, metadata jsonb NOT NULL, received_at timestamptz NOT NULL)"
    )
}

/// Arrays instead of rows: the statement is the same whatever the number.
pub(crate) fn insert(table: &str) -> String {
    format!(
        "INSERT INTO {table} (event_id, event_type, occurred_at, customer_external_id, source, \
         payload, metadata, received_at) \
         SELECT e, t, o, c, s, p::jsonb, m::jsonb, r \
         FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], \
         $7::text[], $8::timestamptz[]) AS u(e, t, o, c, s, p, m, r) \
         ON CONFLICT (event_id) DO NOTHING"
    )
}

/// A name from an event type: lower case, `_` for what names do not have. One that would be too long ends in a hash.
fn name(prefix: &str, event_type: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_') => c,
        _ => '_',
    };
    let mut name: String = prefix
        .chars()
        .chain(event_type.chars().map(plain))
        .collect();
    if name.len() > IDENTIFIER_LEN_MAX {
        let hash = fnv(event_type.as_bytes());
        name.truncate(name.floor_char_boundary(IDENTIFIER_LEN_MAX - 9));
        name.push_str(&format!("_{hash:08x}"));
    }
    name
}

/// FNV-1a folded to 32 bits: the same for ever, because it is in names of customers' tables.
fn fnv(bytes: &[u8]) -> u32 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) as u32 ^ hash as u32
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(tables: Tables) -> Layout {
        Layout {
            schema: "public".into(),
            tables,
            create: true,
            user: "loader".into(),
        }
    }

    #[test]
    fn names_of_tables_stay_as_they_were() {
        let per_type = layout(Tables::PerType {
            prefix: "ev_".into(),
        });
        let long = "a".repeat(80);
        let table = [
            ("order.completed", r#""public"."ev_order_completed""#),
            (
                "Order-Line.Added\"; DROP",
                r#""public"."ev_order_line_added___drop""#,
            ),
            (
                &long,
                r#""public"."ev_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_"#,
            ),
        ];
        for (event_type, expected) in table {
            let name = per_type.table(event_type);
            assert!(name.starts_with(expected), "{name}");
        }
        assert!(per_type.table(&long).len() <= IDENTIFIER_LEN_MAX + "\"public\".\"\"".len());
        assert_ne!(
            per_type.table(&long),
            per_type.table(&format!("{}b", &long[1..]))
        );
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let odd = layout(Tables::Single {
            table: "a\"; DROP TABLE b; --".into(),
        });
        assert_eq!(odd.table("x"), r#""public"."a""; DROP TABLE b; --""#);
    }
}
