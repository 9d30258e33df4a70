"""The graphs of the benchmark of the graph engine are those of the literature."""

from benchmarks import gibbs_graphs


def test_pegasus_and_chimera_have_their_sites_edges_and_degrees():
    """Numbers of dwave_networkx 0.8.19, whose edges of P_2, P_3 and P_6 were compared one by one."""
    for size, sites, edges in ((2, 40, 164), (3, 128, 704), (6, 680, 4484)):
        graph = gibbs_graphs.pegasus(size)
        assert (len(graph), graph.number_of_edges()) == (sites, edges)
    assert max(dict(graph.degree).values()) == 15
    chimera = gibbs_graphs.chimera(16)
    assert (len(chimera), chimera.number_of_edges(), max(dict(chimera.degree).values())) == (2048, 6016, 6)
