//! The versioned wire: what the agent on a host says to the appliance (`agent`), and what people and programs say to
//! it (`operator`).  Types only; the server implements them, the CLI, the page and the agent use them.

pub mod agent;
pub mod operator;
