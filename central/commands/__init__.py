"""The commands of `kopilka-central`, one file a subject. Models are imported once the home is known."""
