//! What the tests of the encoders share: random members, readers of our own for what comes
//! out, and generated cases.

// Each test uses its part.
#![allow(dead_code)]

pub(crate) mod amqp;
pub(crate) mod members;
pub(crate) mod resp;
pub(crate) mod trees;
