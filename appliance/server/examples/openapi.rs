//! Prints the API's description; `cargo xtask openapi` keeps it in the repository.

fn main() {
    print!("{}", appliance_server::openapi());
}
