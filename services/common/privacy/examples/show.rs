//! What the audit shows of the payload on standard input under a mode, given as the API takes it:
//! `echo '{"card":"4111"}' | cargo run -p pushrail-privacy --example show '{"mode":"seal","publicKey":"age1..."}' | age -d -i key.txt`.

use std::io::{Read as _, Write as _};

use pushrail_privacy::Privacy;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mode = std::env::args().nth(1).ok_or("a mode is missing")?;
    let mode = serde_json::from_str(&mode)?;
    let privacy = Privacy::of(&mode, "/payloadMode")
        .map_err(|problems| pushrail_schemas::problem::join(&problems))?;
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload)?;
    let shown = privacy.payload(&payload);
    eprintln!("payload_form: {}", shown.form);
    std::io::stdout().write_all(shown.payload.as_deref().unwrap_or_default())?;
    Ok(())
}
