//! The embedded default model.
#![no_std]
