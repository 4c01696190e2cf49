"""Ask a speech language model the instances of Dynamic-SUPERB (arXiv 2411.05361), and measure its answers."""
