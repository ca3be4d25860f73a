"""BloFin itself: REST, WebSocket and the rate budget they share."""
