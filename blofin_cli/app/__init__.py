"""What a user can ask for: settings, the one gate, and one async function per command."""
