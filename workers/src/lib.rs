//! Placeholder.
pub mod repository;
pub mod process;
pub mod mariadb;
